"""A log as Chrome-trace JSON (the Trace Event Format), which ui.perfetto.dev, chrome://tracing and Speedscope open.

Tracks: the engine's steps; each request's life, with its tokens; each slot, with who sits there and its share of each
step; each request's drafts and verdicts. Counters: the pool's blocks, and who runs and waits. A flow leads from a
request through its steps. Times are the log's own, in microseconds; nothing stands here that the log does not say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from app.pool import Pool
from inference.events import (
    AnyEvent,
    BlockAllocated,
    BlockCopied,
    BlockEvicted,
    BlockReleased,
    BlockShared,
    LogOpened,
    RequestAdmitted,
    RequestFinished,
    RequestPreempted,
    RequestQueued,
    Snapshot,
    SpeculationDrafted,
    SpeculationJudged,
    StepFinished,
    StepStarted,
    TokenSampled,
)

ENGINE, REQUESTS, SLOTS, SPECULATION = 1, 2, 3, 4
PROCESSES = {ENGINE: "Engine", REQUESTS: "Requests", SLOTS: "Slots", SPECULATION: "Speculation"}
STEPS = 1
CHUNK_BYTES = 64 * 1024

Trace = dict[str, Any]
Sequence = tuple[str, int]
"""Request and sample."""


def chrome_trace(events: Iterable[AnyEvent]) -> Iterator[bytes]:
    """The whole document, in pieces: a long log is never held twice."""
    trace = _Tracer()
    rest = iter(events)
    opened = next(rest)
    assert isinstance(opened, LogOpened), "a log begins with log.opened"
    encode = msgspec.json.encode
    buffer = bytearray(
        b'{"displayTimeUnit":"ms","otherData":%b,"traceEvents":[\n%b'
        % (encode(provenance(opened)), b",\n".join(encode(event) for event in trace.begin(opened)))
    )
    for event in rest:
        for traced in trace.apply(event):
            buffer += b",\n"
            buffer += encode(traced)
        if len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer)
            buffer.clear()
    for traced in trace.end():
        buffer += b",\n"
        buffer += encode(traced)
    yield bytes(buffer + b"\n]}\n")


def provenance(opened: LogOpened) -> dict[str, Any]:
    """What ran, where and when: shown as the trace's metadata."""
    said: dict[str, Any] = {
        "run": opened.run_id,
        "source": opened.source,
        "opened_at": datetime.fromtimestamp(opened.opened_at, UTC).isoformat(timespec="seconds"),
        "model": opened.model.name if opened.model else None,
        "dtype": opened.model.dtype if opened.model else None,
        "machine": opened.hardware.name if opened.hardware else None,
        "device": opened.hardware.device if opened.hardware else None,
        "policy": opened.engine.policy if opened.engine else None,
        "openkitchen": opened.software.openkitchen if opened.software else None,
        "commit": opened.software.commit if opened.software else None,
        "take": opened.take,
        "clock": "seconds since the log opened, on the engine's monotonic clock",
    }
    return {name: value for name, value in said.items() if value not in (None, "")}


class _Tracer:
    """The fold. On each track times never run back and slices nest: what two clocks read would otherwise spoil by a few
    microseconds is cut, and what was said stands in ``args``."""

    def __init__(self) -> None:
        self._own = ""
        self._t = 0
        self._pool: Pool | None = None
        self._threads: dict[tuple[int, Any], int] = {}
        self._last: dict[tuple[int, int], int] = {}
        """Where the last thing on a track ended."""
        self._open: dict[tuple[int, int], list[str]] = {}
        """Slices that have begun."""
        self._seats: dict[Sequence, int] = {}
        self._flows: set[int] = set()
        self._step: StepStarted | None = None
        self._leaving: list[Sequence] = []
        """Gave up their seats within the step that is being computed."""
        self._waiting = 0
        self._said: dict[str, dict[str, int]] = {}

    # ---- the parts of a trace

    def _meta(self, what: str, pid: int, tid: int, /, **args: object) -> Trace:
        return {"ph": "M", "name": what, "pid": pid, "tid": tid, "ts": 0, "args": args}

    def _thread(self, pid: int, key: object, name: str) -> tuple[int, list[Trace]]:
        """The track of ``key``, and what introduces it the first time."""
        if (pid, key) in self._threads:
            return self._threads[pid, key], []
        tid = 1 + sum(known == pid for known, _ in self._threads)
        self._threads[pid, key] = tid
        order = key + 1 if isinstance(key, int) else tid
        return tid, [
            self._meta("thread_name", pid, tid, name=name),
            self._meta("thread_sort_index", pid, tid, sort_index=order),
        ]

    def _at(self, pid: int, tid: int, ts: int) -> int:
        """No earlier than what stands on the track already."""
        ts = max(ts, self._last.get((pid, tid), 0))
        self._last[pid, tid] = ts
        return ts

    def _begin(self, pid: int, tid: int, name: str, /, **args: object) -> Trace:
        self._open.setdefault((pid, tid), []).append(name)
        ts = self._at(pid, tid, self._t)
        return {"ph": "B", "name": name, "cat": PROCESSES[pid].lower(), "pid": pid, "tid": tid, "ts": ts, "args": args}

    def _end(self, pid: int, tid: int, /, **args: object) -> list[Trace]:
        """Ends what is open on a track, if anything is."""
        if not self._open.get((pid, tid)):
            return []
        name = self._open[pid, tid].pop()
        ts = self._at(pid, tid, self._t)
        return [{"ph": "E", "name": name, "pid": pid, "tid": tid, "ts": ts, "args": args}]

    def _slice(self, pid: int, tid: int, name: str, start: int, stop: int, /, **args: object) -> Trace:
        start = self._at(pid, tid, start)
        stop = self._at(pid, tid, max(start, stop))
        category = PROCESSES[pid].lower()
        span = {"ts": start, "dur": stop - start}
        return {"ph": "X", "name": name, "cat": category, "pid": pid, "tid": tid, **span, "args": args}

    def _counter(self, name: str, **values: int) -> list[Trace]:
        if self._said.get(name) == values:
            return []
        self._said[name] = values
        return [{"ph": "C", "name": name, "pid": ENGINE, "tid": 0, "ts": self._t, "args": values}]

    def _flow(self, phase: str, pid: int, tid: int, flow: int, ts: int) -> Trace:
        bound = {"bp": "e"} if phase == "f" else {}
        return {
            "ph": phase,
            "name": "computed by",
            "cat": "flow",
            "id": flow,
            "pid": pid,
            "tid": tid,
            "ts": ts,
            **bound,
        }

    # ---- the log

    def begin(self, opened: LogOpened) -> list[Trace]:
        """The tracks that every trace has."""
        self._own = opened.run_id
        if opened.engine is not None:
            self._pool = Pool(opened.engine.num_blocks)
        found = []
        for pid, name in PROCESSES.items():
            found.append(self._meta("process_name", pid, 0, name=name))
            found.append(self._meta("process_sort_index", pid, 0, sort_index=pid))
        found += self._thread(ENGINE, "steps", "steps")[1]
        return found + self._request((self._own, 0))[1]

    def _request(self, sequence: Sequence) -> tuple[int, list[Trace]]:
        return self._thread(REQUESTS, sequence, self._name(sequence))

    def _name(self, sequence: Sequence) -> str:
        request_id, sample = sequence
        name = "this run" if request_id == self._own else request_id
        return f"{name}, sample {sample + 1}" if sample else name

    def apply(self, event: AnyEvent) -> Iterator[Trace]:
        """What one event adds."""
        self._t = round(event.t * 1e6)
        match event:
            case Snapshot():
                yield from self._snapshot(event)
            case RequestQueued():
                self._waiting = event.num_waiting
                yield from self._queued(event)
            case RequestAdmitted():
                yield from self._admitted(event)
            case RequestPreempted():
                yield from self._leaves((event.request_id, event.sample), why="preempted")
                tid, _ = self._request((event.request_id, event.sample))
                yield self._begin(REQUESTS, tid, "preempted", num_computed_tokens=event.num_computed_tokens)
            case RequestFinished():
                yield from self._leaves((event.request_id, event.sample), why=event.reason)
            case StepStarted():
                yield from self._step_ends(None)
                self._step = event
                self._waiting = event.num_waiting
            case StepFinished():
                yield from self._step_ends(event)
            case TokenSampled():
                yield from self._token(event)
            case SpeculationDrafted() | SpeculationJudged():
                yield from self._speculation(event)
            case BlockAllocated() | BlockShared() | BlockCopied() | BlockReleased() | BlockEvicted():
                if self._pool is not None:
                    self._pool.apply(event)
        yield from self._counters()

    def _counters(self) -> Iterator[Trace]:
        yield from self._counter("requests", running=len(self._seats), waiting=self._waiting)
        if self._pool is not None and self._pool.is_known:
            yield from self._counter(
                "blocks", held=self._pool.num_held, cached=self._pool.num_cached, free=self._pool.num_free
            )

    def _snapshot(self, event: Snapshot) -> Iterator[Trace]:
        self._pool = Pool(event.num_blocks)
        self._pool.apply(event)
        for request in event.requests:
            if request.slot is not None:
                sequence = (request.request_id, request.sample)
                yield from self._sits(sequence, request.slot, num_tokens=request.num_tokens, before_this_log=True)

    def _queued(self, event: RequestQueued) -> Iterator[Trace]:
        tid, introduced = self._request((event.request_id, event.sample))
        yield from introduced
        if not self._open.get((REQUESTS, tid)):
            yield self._begin(REQUESTS, tid, "queued", position=event.position, num_waiting=event.num_waiting)

    def _admitted(self, event: RequestAdmitted) -> Iterator[Trace]:
        tid, introduced = self._request((event.request_id, event.sample))
        yield from introduced
        yield from self._end(REQUESTS, tid)  # queued, or preempted
        args = {"num_tokens": event.num_tokens}
        if event.request_id == self._own:
            args |= {"cached_tokens": event.cached_tokens, "queue_us": round(event.queue_seconds * 1e6)}
        yield from self._sits((event.request_id, event.sample), event.slot, **args)

    def _sits(self, sequence: Sequence, slot: int, /, **args: object) -> Iterator[Trace]:
        tid, introduced = self._request(sequence)
        yield from introduced
        running = self._begin(REQUESTS, tid, "running", slot=slot, **args)
        yield running
        if tid not in self._flows:
            self._flows.add(tid)
            yield self._flow("s", REQUESTS, tid, tid, running["ts"])
        self._seats[sequence] = slot
        slot_tid, introduced = self._thread(SLOTS, slot, f"slot {slot}")
        yield from introduced
        yield from self._end(SLOTS, slot_tid)  # (a seat that was never said to be free)
        yield self._begin(SLOTS, slot_tid, self._name(sequence))

    def _leaves(self, sequence: Sequence, why: str) -> Iterator[Trace]:
        tid, introduced = self._request(sequence)
        yield from introduced
        if why != "preempted" and tid in self._flows:
            self._flows.discard(tid)
            yield self._flow("f", REQUESTS, tid, tid, self._at(REQUESTS, tid, self._t))
        yield from self._end(REQUESTS, tid, why=why if sequence[0] == self._own or why == "preempted" else "left")
        if self._step and any((item.request_id, item.sample) == sequence for item in self._step.requests):
            self._leaving.append(sequence)
        else:
            yield from self._stands_up(sequence)

    def _stands_up(self, sequence: Sequence) -> Iterator[Trace]:
        slot = self._seats.pop(sequence, None)
        if slot is not None:
            yield from self._end(SLOTS, self._threads[SLOTS, slot])

    def _step_ends(self, finished: StepFinished | None) -> Iterator[Trace]:
        """``finished`` is None for a step whose end the log does not know."""
        step, self._step = self._step, None
        if step is None:
            return
        started = round(step.t * 1e6)
        args: dict[str, object] = {
            "step": step.step,
            "num_tokens": step.num_tokens,
            "num_requests": len(step.requests),
            "num_waiting": step.num_waiting,
        }
        begun = started
        if finished is None:
            args["finished"] = False
        else:
            begun = min(started, self._t - round(finished.seconds * 1e6))
            for name in ("seconds", "schedule_seconds", "draft_seconds", "forward_seconds", "sample_seconds"):
                args[name] = getattr(finished, name)
            for name in ("flops", "weight_bytes", "kv_read_bytes", "kv_written_bytes"):
                args[name] = getattr(finished, name)
        whole = self._slice(ENGINE, STEPS, step.phase, begun, self._t, **args)
        yield whole
        for item in step.requests:
            sequence = (item.request_id, item.sample)
            tid, introduced = self._request(sequence)
            yield from introduced
            if tid in self._flows:
                yield self._flow("t", ENGINE, STEPS, tid, max(started, whole["ts"]))
            slot_tid, introduced = self._thread(SLOTS, item.slot, f"slot {item.slot}")
            yield from introduced
            share = {"step": step.step, "request": self._name(sequence), "start": item.start, "stop": item.stop}
            yield self._slice(SLOTS, slot_tid, item.phase, started, self._t, **share)
        leaving, self._leaving = self._leaving, []
        for sequence in leaving:
            yield from self._stands_up(sequence)

    def _token(self, event: TokenSampled) -> Iterator[Trace]:
        tid, introduced = self._request((event.request_id, event.sample))
        yield from introduced
        args = {
            "position": event.position,
            "id": event.id,
            "probability": math.exp(min(0.0, event.logprob)),
            "origin": event.origin,
            "step": event.step,
        }
        ts = self._at(REQUESTS, tid, self._t)
        name = event.text or "token"
        yield {"ph": "i", "s": "t", "name": name, "cat": "token", "pid": REQUESTS, "tid": tid, "ts": ts, "args": args}

    def _speculation(self, event: SpeculationDrafted | SpeculationJudged) -> Iterator[Trace]:
        sequence = (event.request_id, event.sample)
        tid, introduced = self._thread(SPECULATION, sequence, self._name(sequence))
        yield from introduced
        begun = self._t - round(event.seconds * 1e6)
        common = {"step": event.step, "position": event.position, "seconds": event.seconds}
        if isinstance(event, SpeculationDrafted):
            args = {**common, "drafter": event.drafter, "texts": event.texts, "q": event.q}
            yield self._slice(SPECULATION, tid, "draft", begun, self._t, **args)
        else:
            args = {**common, "accepted": event.num_accepted, "drafts": event.num_drafts}
            args |= {"then": event.text, "origin": event.origin}
            name = f"verify: {event.num_accepted} of {event.num_drafts}"
            yield self._slice(SPECULATION, tid, name, begun, self._t, **args)

    def end(self) -> Iterator[Trace]:
        """Close what the log left open."""
        yield from self._step_ends(None)
        for flow in sorted(self._flows):
            yield self._flow("f", REQUESTS, flow, flow, self._at(REQUESTS, flow, self._t))
        for (pid, tid), names in self._open.items():
            while names:
                yield from self._end(pid, tid)
