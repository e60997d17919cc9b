"""Other people's prompts are never in your log, nor anything that is theirs by name."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from app.projection import Projection
from inference.events import (
    AnyEvent,
    Array,
    BlockAllocated,
    BlockReleased,
    BlockShared,
    Candidate,
    KVWritten,
    ProbeAttention,
    ProbeAttentionSummary,
    ProbeKV,
    ProbeLogits,
    ProbeTiles,
    RequestAdmitted,
    RequestFinished,
    RequestPreempted,
    RequestQueued,
    RequestTokenized,
    Snapshot,
    SnapshotRequest,
    SpeculationDrafted,
    SpeculationJudged,
    StepItem,
    StepStarted,
    TokenSampled,
    Usage,
    encode,
)

OWN = "own-run-AAAAAAAAAAAAAA"
# Each other request's secrets are numbers and words that nothing else in the log can hold.
SECRET_NUMBER = 987_654_300
OTHERS = [f"other-run-{letter * 12}" for letter in "BCD"]


def secret_word(who: str) -> str:
    return f"secret of {who}"


def events_of(who: str, kind: str) -> AnyEvent:
    number = SECRET_NUMBER + OTHERS.index(who) if who in OTHERS else 1
    word = secret_word(who)
    array = Array.pack(word.encode(), "uint8", [1, 1, len(word)])
    made: dict[str, Any] = {
        "queued": lambda: RequestQueued(request_id=who, position=number, num_waiting=number),
        "tokenized": lambda: RequestTokenized(
            request_id=who, token_ids=[number], pieces=[word], own=[(0, 1)], seconds=float(number)
        ),
        "admitted": lambda: RequestAdmitted(
            request_id=who, slot=2, num_tokens=9, cached_tokens=number, queue_seconds=float(number)
        ),
        "preempted": lambda: RequestPreempted(request_id=who, slot=2, num_computed_tokens=4),
        "finished": lambda: RequestFinished(
            request_id=who,
            slot=2,
            reason="error",
            stop=word,
            text=word,
            usage=Usage(prompt_tokens=number, cached_tokens=number, completion_tokens=number),
            detail=word,
        ),
        "allocated": lambda: BlockAllocated(request_id=who, block_ids=[5], start=0),
        "shared": lambda: BlockShared(request_id=who, block_ids=[5], ref_counts=[2], start=0),
        "released": lambda: BlockReleased(request_id=who, block_ids=[5], ref_counts=[0], cached=[True]),
        "written": lambda: KVWritten(request_id=who, start=0, stop=4),
        "sampled": lambda: TokenSampled(
            request_id=who,
            position=number,
            id=number,
            text=word,
            logprob=float(-number),
            candidates=[Candidate(id=number, text=word, logit=float(number), probability=0.5)],
            rest=0.5,
        ),
        "drafted": lambda: SpeculationDrafted(
            request_id=who, step=1, drafter="eagle", position=number, ids=[number], texts=[word], q=[0.5], seconds=0.1
        ),
        "judged": lambda: SpeculationJudged(
            request_id=who,
            step=1,
            position=number,
            p=[float(number)],
            q=[float(number)],
            draws=[0.5],
            num_drafts=number,
            num_accepted=number,
            id=number,
            text=word,
            origin="recovered",
            seconds=0.1,
        ),
        "norms": lambda: ProbeKV(request_id=who, start=0, stop=len(word), keys=array, values=array),
        "logits": lambda: ProbeLogits(request_id=who, position=number, logits=array),
        "attention": lambda: ProbeAttention(
            request_id=who, position=number, layers=[number], heads=[number], weights=array, sinks=array
        ),
        "summary": lambda: ProbeAttentionSummary(
            request_id=who, position=number, near_tokens=8, first=array, near=array, distance=array, entropy=array
        ),
        "tiles": lambda: ProbeTiles(
            request_id=who,
            layer=number,
            head=number,
            num_tokens=number,
            block_q=1,
            block_k=1,
            tiles=[(number, 0)],
            tile_max=array,
            row_max=array,
            row_sum=array,
            rescale=array,
            output_norm=array,
            largest_error=0.0,
        ),
        "step": lambda: StepStarted(
            step=1,
            phase="decode",
            num_tokens=1,
            num_waiting=0,
            requests=[StepItem(request_id=w, sample=0, slot=1, phase="decode", start=3, stop=4) for w in (who, OWN)],
        ),
        "snapshot": lambda: Snapshot(
            request_id=who,
            num_blocks=8,
            num_free_blocks=4,
            cached_block_ids=[1],
            requests=[
                SnapshotRequest(request_id=o, sample=0, slot=1, num_tokens=4, num_computed_tokens=4, block_ids=[5])
                for o in OTHERS
            ],
        ),
    }
    event: AnyEvent = made[kind]()
    return event


def uncounted(event: AnyEvent) -> AnyEvent:
    """Without its reference counts: a log counts the holders that it shows."""
    if isinstance(event, BlockShared):
        return replace(event, ref_counts=[])
    return replace(event, ref_counts=[], cached=[]) if isinstance(event, BlockReleased) else event


KINDS = [
    "queued", "tokenized", "admitted", "preempted", "finished", "allocated", "shared", "released", "written", "sampled",
    "drafted", "judged", "norms", "logits", "attention", "summary", "tiles", "step", "snapshot",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([OWN, *OTHERS]), st.sampled_from(KINDS)), max_size=40))
def test_nothing_of_anybody_else_is_ever_in_my_log(script: list[tuple[str, str]]) -> None:
    projection = Projection(OWN)
    said = [events_of(OWN, "snapshot"), *(events_of(who, kind) for who, kind in script)]
    log = [found for event in said if (found := projection.project(event)) is not None]
    text = b"\n".join(encode(event) for event in log).decode()
    for other in OTHERS:
        assert other not in text
        assert secret_word(other) not in text
        assert Array.pack(secret_word(other).encode(), "uint8", []).data not in text
        assert msgspec.json.encode(secret_word(other)).decode().strip('"') not in text
    assert str(SECRET_NUMBER)[:8] not in text
    for event in log:
        assert getattr(event, "request_id", OWN) == OWN or event.request_id.startswith("guest-")
    kept_whole = [
        event for event in log if getattr(event, "request_id", None) == OWN and not isinstance(event, Snapshot)
    ]
    own_said = [events_of(OWN, kind) for who, kind in script if who == OWN and kind not in ("step", "snapshot")]
    assert [uncounted(event) for event in kept_whole] == [uncounted(event) for event in own_said], "mine pass whole"


def test_every_probe_there_is_was_tried_above() -> None:
    tried = {events_of(OWN, kind).__struct_config__.tag for kind in KINDS}
    known = {kind.__struct_config__.tag for kind in get_args(AnyEvent)}
    probes = {tag for tag in known if tag.startswith(("probe.", "speculation."))}
    assert len(probes) >= 5
    assert probes <= tried


def test_nothing_before_the_snapshot_and_names_stay_the_same() -> None:
    projection = Projection(OWN)
    assert projection.project(events_of(OTHERS[0], "admitted")) is None
    snapshot = projection.project(events_of(OWN, "snapshot"))
    assert isinstance(snapshot, Snapshot)
    names = [request.request_id for request in snapshot.requests]
    assert names == ["guest-1", "guest-2", "guest-3"]
    for other, name in zip(OTHERS, names, strict=True):
        written = projection.project(events_of(other, "written"))
        assert isinstance(written, KVWritten)
        assert written.request_id == name


def test_the_engines_own_event_is_left_alone() -> None:
    """One message is projected into many logs, so a projection must not write on it."""
    projection, other = Projection(OWN), Projection(OTHERS[0])
    event = events_of(OTHERS[0], "step")
    before = encode(event)
    projection.project(events_of(OWN, "snapshot"))
    projection.project(event)
    other.project(event)
    assert encode(event) == before
