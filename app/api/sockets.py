"""``WS /api/runs/{id}/socket``: a log, frame by frame."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from app.api.following import parse_after
from app.api.site import Site, site_of
from app.broadcast import frame_text, frames
from app.problems import Problem
from app.runs import Run

SUBPROTOCOL = "trace.v1"
CLOSED = 1000
BAD_REQUEST = 1008
TRY_AGAIN_LATER = 1013
UNKNOWN_RUN = 4404

router = APIRouter()


@router.websocket("/api/runs/{run_id}/socket")
async def follow_socket(socket: WebSocket, run_id: str) -> None:
    """Accepts first and says what is wrong by the close code (a browser learns nothing of a refused handshake):
    1008 for a bad ``after``, 4404 for an unknown run, 1013 when there are too many readers. Any page may read: the
    run's id is the key."""
    site = site_of(socket)
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope.get("subprotocols", ()) else None)
    try:
        run = await site.store.find(run_id)
    except Problem as problem:
        await socket.close(TRY_AGAIN_LATER, problem.detail[:120])
        return
    if run is None:
        await socket.close(UNKNOWN_RUN, "unknown run")
        return
    try:
        after = parse_after(socket.query_params.get("after"))
    except Problem:
        await socket.close(BAD_REQUEST, "after must be a whole number")
        return
    try:
        with site.readers.reading(run_id):
            await _serve(site, socket, run, after)
    except Problem as problem:
        await socket.close(TRY_AGAIN_LATER, problem.detail[:120])


async def _serve(site: Site, socket: WebSocket, run: Run, after: int) -> None:
    gone = asyncio.create_task(_until_gone(socket))
    feed = asyncio.create_task(_feed(site, socket, run, after))
    try:
        await asyncio.wait((gone, feed), return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        feed.cancel()
        results = await asyncio.gather(gone, feed, return_exceptions=True)
    for error in results:
        if isinstance(error, Exception) and not isinstance(error, TimeoutError | OSError | WebSocketDisconnect):
            raise error


async def _feed(site: Site, socket: WebSocket, run: Run, after: int) -> None:
    try:
        async for seq, lines in frames(run.broadcast, after, site.clock):
            await asyncio.wait_for(socket.send_text(frame_text(seq, lines)), site.settings.send_timeout)
    except TimeoutError:
        # Closing politely would wait behind what the reader does not take.
        site.abort_connection(socket.scope)
        raise
    if socket.application_state is WebSocketState.CONNECTED:
        await socket.close(CLOSED)


async def _until_gone(socket: WebSocket) -> None:
    """Readers have nothing to say; what they send is read, so that their leaving is noticed, and dropped."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
