"""The web server: uvicorn with a port that is known before it runs, a word when it is served, and an orderly end."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import Scope

from app.api.site import Site
from app.connections import HTTPConnection
from app.settings import Settings
from app.wire import Wire

SPARE_FILES = 128
"""What a kitchen has open besides its readers: libraries, logs that are written, sockets to the engine."""
LINGER_SECONDS = 30.0
MANY_FILES = 65_536
LINGER_CHECK_SECONDS = 5.0


class PortTaken(Exception):
    """Somebody else listens there, or we may not."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises PortTaken with what to do about it."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise PortTaken(f"Cannot listen on {host}: {error.strerror}.") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        # Listening now claims the port for good: a second kitchen fails here and not halfway through its start.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"Port {port} on {host} is in use. Try another: openkitchen serve --port {port + 1} "
                "(with --data-dir too, if a kitchen listens there: each keeps its runs in a folder of its own)"
            ) from error
        raise PortTaken(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
    return listener


def allow_open_files(wanted: int) -> None:
    """Raise this process's limit on open files as far as it may be raised: each reader holds a connection, and the
    usual limit of 1,024 is for programs that have none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class Server(uvicorn.Server):
    """Adds to uvicorn what it does not do: says when it is served, closes logs before it waits for readers to go, and
    cuts connections that would linger for ever because their reader takes nothing."""

    def __init__(self, config: uvicorn.Config, site: Site, on_served: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self._site = site
        self._on_served = on_served
        self._reaper: asyncio.Task[None] | None = None
        site.abort_connection = self.abort_connection

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, and say so."""
        await super().startup(sockets)
        if self.started:
            self._reaper = asyncio.create_task(self._reap())
            if self._on_served is not None:
                self._on_served()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let live runs finish, and end those that do not in time: their readers get ``log.closed`` and leave by
        themselves. Until then the site is served, so that a reader may come back and ``/readyz`` can say no."""
        await self._site.orders.drain(self._site.settings.drain_seconds, lambda: self.force_exit)
        await self._site.orders.close()
        await asyncio.sleep(0.1)
        await super().shutdown(sockets)
        if self._reaper is not None:
            self._reaper.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal asks for an orderly end, a second one for a quick one, whichever the two are."""
        self.force_exit = self.should_exit
        super().handle_exit(sig, frame)

    def abort_connection(self, scope: Scope) -> None:
        """Cut the connection that this scope came over, without waiting for what it holds to be taken."""
        peer = tuple(scope.get("openkitchen.peer") or scope.get("client") or ())
        for connection in list(self.server_state.connections):
            client = getattr(connection, "client", None)
            transport = getattr(connection, "transport", None)
            if transport is not None and client is not None and tuple(client) == peer:
                transport.abort()

    async def _reap(self) -> None:
        """A closing transport waits until its reader has taken the rest, for ever if need be. Not here."""
        closing_since: dict[Any, float] = {}
        while True:
            await asyncio.sleep(LINGER_CHECK_SECONDS)
            now = time.monotonic()
            closing = [
                transport
                for connection in list(self.server_state.connections)
                if (transport := getattr(connection, "transport", None)) is not None and transport.is_closing()
            ]
            closing_since = {transport: closing_since.get(transport, now) for transport in closing}
            for transport, since in closing_since.items():
                if now - since > LINGER_SECONDS:
                    transport.abort()


def allow_many_files() -> None:
    """A reader is an open file, and the usual allowance of 1,024 is less than the readers that settings allow. Asks for
    what this process may have at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY_FILES if hard == resource.RLIM_INFINITY else min(MANY_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def make_server(app: FastAPI, settings: Settings, on_served: Callable[[], None] | None = None) -> Server:
    """A server for the site. Proxies and the root path are ours to handle (``security.py``)."""
    allow_many_files()
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        http=HTTPConnection,
        ws=Wire,
        # (A ping waits behind all that a slow reader has not taken yet.)
        ws_ping_timeout=60.0,
        ws_max_size=4096,
        # What one request binds for its log lines is not the next one's.
        reset_contextvars=True,
        timeout_graceful_shutdown=5,
    )
    return Server(config, app.state.site, on_served)
