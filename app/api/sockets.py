"""``WS /api/runs/{id}/socket``: a log, frame by frame."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.websockets import WebSocket

from app.api.following import parse_after
from app.api.site import Site, site_of
from app.fanout import Fanout
from app.problems import Problem
from app.runs import Run
from app.security import is_cross_site
from app.wire import wire_of

SUBPROTOCOL = "trace.v1"
BAD_REQUEST = 1008
TRY_AGAIN_LATER = 1013
FOREIGN_PAGE = 4403
UNKNOWN_RUN = 4404

router = APIRouter()


@router.websocket("/api/runs/{run_id}/socket")
async def follow_socket(socket: WebSocket, run_id: str) -> None:
    """Accepts first and says what is wrong by the close code (a browser learns nothing of a refused handshake):
    1008 for a bad ``after``, 4403 for another site's page, 4404 for an unknown run, 1013 when there are too many
    readers, 4408 for a reader who takes nothing (the reason says after which event to resume). The run's id is the key,
    and any page that has it may read ``/events``; a socket, which no same-origin policy guards, is for our own."""
    site = site_of(socket)
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope.get("subprotocols", ()) else None)
    if "*" not in site.settings.socket_origins and is_cross_site(
        socket, (*site.settings.public_origins, *site.settings.socket_origins)
    ):
        await socket.close(FOREIGN_PAGE, "another site's page may not follow by socket: read /events instead")
        return
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
    wire = wire_of(socket.scope)
    if wire is None:
        # (Under a server that is not ours. A page goes on to server-sent events.)
        await socket.close(TRY_AGAIN_LATER, "sockets need openkitchen serve; read /events instead")
        return
    fanout = Fanout.of(run.broadcast, site.clock, site.settings.send_timeout)
    reader = fanout.join(wire, after)
    try:
        await _until_gone(socket)
    finally:
        fanout.leave(reader)


async def _until_gone(socket: WebSocket) -> None:
    """Readers have nothing to say; what they send is read, so that their leaving is noticed, and dropped."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
