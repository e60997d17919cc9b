"""Many socket readers of one run in a process of their own: ``python -m benchmarks.reader_swarm HOST PORT RUN ...``.

Plain asyncio protocols, so that a thousand of them do not eat the machine that is measured. A frame is looked into once
a process, however many readers get it (the server sends all who are in step the same bytes); every reader checks of
every frame that it begins where the last one ended. What was delivered to whom, and when, goes to stdout as JSON when
all have ended. Times are those of ``time.monotonic()``, which all processes of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import socket
import sys
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field

from benchmarks.figures import percentile

MAX_DEAF_RCVBUF = 4096


@dataclass
class Frame:
    """What is in one frame."""

    first: int
    last: int
    times: list[float]
    """``t`` of each event: seconds of the log."""
    closed: bool
    arrivals: list[float] = field(default_factory=list)
    """At each reader, on the monotonic clock."""


class Swarm:
    """All readers of this process, and what they got."""

    def __init__(self) -> None:
        self.frames: dict[bytes, Frame] = {}
        self.wire_bytes = 0
        self.faults: Counter[str] = Counter()
        self.complete = 0
        self.connected = 0
        self.left = asyncio.Event()
        self.opened_at = 0.0
        self.num_left = 0

    def look(self, header: int, payload: bytes) -> Frame:
        frame = self.frames.get(payload)
        if frame is None:
            text = payload
            if header & 0x40:
                text = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
            value = json.loads(text)
            events = value["events"]
            if [event["seq"] for event in events] != list(range(value["seq"], value["seq"] + len(events))):
                self.faults["a frame with a gap in it"] += 1
            if events[0]["type"] == "log.opened":
                self.opened_at = events[0]["opened_at"]
            frame = Frame(
                events[0]["seq"], events[-1]["seq"], [e["t"] for e in events], events[-1]["type"] == "log.closed"
            )
            self.frames[payload] = frame
        return frame


class Reader(asyncio.Protocol):
    """One socket."""

    def __init__(self, swarm: Swarm, request: bytes) -> None:
        self.swarm = swarm
        self.request = request
        self.buffer = bytearray()
        self.upgraded = False
        self.seq = 0
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self.swarm.wire_bytes += len(data)
        self.buffer += data
        if not self.upgraded:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self.buffer.startswith(b"HTTP/1.1 101"):
                self.swarm.faults["refused"] += 1
                self.transport.abort()
                return
            self.upgraded = True
            self.swarm.connected += 1
            del self.buffer[: end + 4]
        while (message := self.next_message()) is not None:
            self.take(*message, now)

    def next_message(self) -> tuple[int, bytes] | None:
        buffer = self.buffer
        if len(buffer) < 2:
            return None
        length, start = buffer[1] & 0x7F, 2
        if length == 126:
            length, start = int.from_bytes(buffer[2:4]), 4
        elif length == 127:
            length, start = int.from_bytes(buffer[2:10]), 10
        if len(buffer) < start + length or (start > 2 and len(buffer) < start):
            return None
        header, payload = buffer[0], bytes(buffer[start : start + length])
        del buffer[: start + length]
        return header, payload

    def take(self, header: int, payload: bytes, now: float) -> None:
        opcode = header & 0x0F
        if opcode == 1:
            frame = self.swarm.look(header, payload)
            if frame.first != self.seq + 1:
                self.swarm.faults["a gap or a repeat"] += 1
            self.seq = frame.last
            self.closed = frame.closed
            frame.arrivals.append(now)
        elif opcode == 9:
            self.say(0x8A, payload)
        elif opcode == 8:
            if int.from_bytes(payload[:2]) != 1000 or not self.closed:
                self.swarm.faults[f"closed with {int.from_bytes(payload[:2])}"] += 1
            else:
                self.swarm.complete += 1
            self.say(0x88, payload[:2])
            self.transport.close()

    def say(self, header: int, payload: bytes) -> None:
        """Masked, with a mask of zeros."""
        self.transport.write(bytes((header, 0x80 | len(payload))) + b"\0\0\0\0" + payload)

    def connection_lost(self, error: Exception | None) -> None:
        self.swarm.num_left += 1
        self.swarm.left.set()


def handshake(host: str, port: int, run: str, *, deflate: bool) -> bytes:
    """What a browser sends, as far as it matters."""
    lines = [
        f"GET /api/runs/{run}/socket HTTP/1.1",
        f"Host: {host}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Protocol: trace.v1",
    ]
    if deflate:
        lines.append("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
    return "\r\n".join((*lines, "", "")).encode()


def deaf_socket(host: str, port: int, run: str) -> socket.socket:
    """A reader that asks and then takes nothing."""
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MAX_DEAF_RCVBUF)
    deaf.connect((host, port))
    deaf.sendall(handshake(host, port, run, deflate=False))
    return deaf


async def read(options: argparse.Namespace) -> dict[str, object]:
    """Follow the run with everybody to its end."""
    loop = asyncio.get_running_loop()
    swarm = Swarm()
    for number in range(options.readers):
        request = handshake(options.host, options.port, options.run, deflate=not options.plain)
        await loop.create_connection(lambda request=request: Reader(swarm, request), options.host, options.port)  # type: ignore[misc]
        if number % 20 == 19:
            await asyncio.sleep(options.spread * 20 / options.readers)
    deaf = [deaf_socket(options.host, options.port, options.run) for _ in range(options.deaf)]
    while swarm.connected < options.readers and not swarm.faults:
        await asyncio.sleep(0.02)
    print(json.dumps({"all_here": time.monotonic()}), flush=True)
    here = time.monotonic()
    while swarm.num_left < options.readers:
        swarm.left.clear()
        await swarm.left.wait()
    for sock in deaf:
        sock.close()
    return report(swarm, options.readers, here)


def report(swarm: Swarm, readers: int, here: float) -> dict[str, object]:
    """Latencies are of every event at every reader, from when the engine said it (its ``t``) to its arrival; only of
    what was said when all were here, since catching up is not following."""
    zero = swarm.opened_at - (time.time() - time.monotonic())
    latencies: list[float] = []
    newest: list[float] = []
    sizes: list[int] = []
    deliveries = 0
    for frame in swarm.frames.values():
        deliveries += len(frame.arrivals)
        if zero + frame.times[0] < here or not frame.arrivals:
            continue
        sizes += [frame.last - frame.first + 1] * len(frame.arrivals)
        for arrival in frame.arrivals:
            latencies += [arrival - zero - t for t in frame.times]
            newest.append(arrival - zero - frame.times[-1])
    return {
        "readers": readers,
        "complete": swarm.complete,
        "faults": dict(swarm.faults),
        "frames": deliveries,
        "distinct_frames": len(swarm.frames),
        "live_frames": len(sizes),
        "live_events": len(latencies),
        "wire_bytes": swarm.wire_bytes,
        "events_a_frame": sum(sizes) / len(sizes) if sizes else 0.0,
        "latency": {q: percentile(latencies, float(q)) for q in ("50", "99", "100")} if latencies else {},
        "newest": {q: percentile(newest, float(q)) for q in ("50", "99", "100")} if newest else {},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("run")
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--deaf", type=int, default=0, help="readers more that take nothing")
    parser.add_argument("--plain", action="store_true", help="without permessage-deflate")
    parser.add_argument("--spread", type=float, default=0.0, help="seconds over which they come")
    print(json.dumps(asyncio.run(read(parser.parse_args()))))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
