"""Ways to follow a log over HTTP: lines, or server-sent events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.site import Site
from app.broadcast import frames
from app.metrics import Transport
from app.problems import FieldError, Problem
from app.runs import Run

IDLE_SECONDS = 15.0
"""Proxies cut silent connections; a comment this often keeps them."""


def parse_after(value: str | None) -> int:
    """``?after=SEQ``: a whole number, 0 when left out. Raises 422."""
    if value is None or value == "":
        return 0
    if not re.fullmatch(r"[0-9]{1,15}", value, re.ASCII):
        detail = "after must be a whole number from 0 on: the seq of the last event you have."
        raise Problem(422, "invalid", detail, (FieldError("after", detail),))
    return int(value)


class Follow(Response):
    """A response that lasts as long as the log grows. Ends early when the reader leaves, or takes nothing for the
    send timeout: then the connection is cut, so that what waits in its buffers is freed too."""

    media_type = "application/octet-stream"
    transport: Transport = "lines"

    def __init__(self, site: Site, run: Run, after: int) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._site = site
        self._run = run
        self._after = after

    def chunks(self) -> AsyncIterator[bytes]:
        """The body."""
        raise NotImplementedError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        with self._site.readers.reading(self._run.run_id):
            gone = asyncio.create_task(_until_gone(receive))
            feed = asyncio.create_task(self._feed(scope, send))
            try:
                await asyncio.wait((gone, feed), return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
                feed.cancel()
                results = await asyncio.gather(gone, feed, return_exceptions=True)
        for error in results:
            if isinstance(error, Exception) and not isinstance(error, TimeoutError | OSError):
                raise error

    async def _feed(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for chunk in self.chunks():
                message = {"type": "http.response.body", "body": chunk, "more_body": True}
                await asyncio.wait_for(send(message), self._site.settings.send_timeout)
                self._site.metrics.sent(self.transport, len(chunk))
        except TimeoutError:
            self._site.metrics.dropped(self.transport)
            self._site.abort_connection(scope)
            raise
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Lines(Follow):
    """NDJSON: the log as it lies on disk."""

    media_type = "application/x-ndjson"

    async def chunks(self) -> AsyncIterator[bytes]:
        """Whole lines."""
        async for _, lines in frames(self._run.broadcast, self._after, self._site.clock):
            yield b"".join(line + b"\n" for line in lines)


class EventStream(Follow):
    """Server-sent events: ``id`` is the event's ``seq``, so that a browser resumes by itself."""

    media_type = "text/event-stream"
    transport: Transport = "sse"

    async def chunks(self) -> AsyncIterator[bytes]:
        """Whole events."""
        yield b"retry: 1000\n\n"
        async for seq, lines in frames(self._run.broadcast, self._after, self._site.clock, idle=IDLE_SECONDS):
            if lines:
                yield b"".join(b"id: %d\ndata: %b\n\n" % (seq + i, line) for i, line in enumerate(lines))
            else:
                yield b": still here\n\n"
