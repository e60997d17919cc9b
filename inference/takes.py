"""Takes: the same prompt cooked once more, another way. What may be asked for, within which ranges.

A take is an ordinary run with a parent: it has the parent's prompt ids, and its temperature, seed and cuts, unless a
knob says otherwise. Each kind of take is a struct, its knobs are the fields; ``take`` names it on the wire.

Some takes are requests like any other and go to the first engine; the others are cooked ``apart``, by a second engine
that has another policy, pool, precision or drafter (``take_runner.py``).

Imports no torch: the app uses it too. How each take is set up is in ``take_plan.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, cast

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from inference.probes import Probes
from inference.sequence import SamplingParams

Dtype = Literal["auto", "bfloat16", "float32"]
DrafterName = Literal["eagle", "ngram", "mismatched"]
BlockSize = Literal[4, 8, 16, 32, 64]
MaxTokens = Annotated[int, Meta(ge=1, le=512)]
Temperature = Annotated[float, Meta(ge=0.0, le=2.0)]
Drafts = Annotated[int, Meta(ge=1, le=8)]


class KnobError(ValueError):
    """A take that cannot be. ``field`` is the knob's name, the message names it, the value and what it may be."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Parent(msgspec.Struct, kw_only=True, frozen=True):
    """What a take needs to know of the run that it is a take of; all of it stands in that run's log."""

    prompt: str
    """The reader's own words."""
    token_ids: list[int]
    """Of the templated prompt."""
    own: list[tuple[int, int]]
    output_ids: list[int]
    """Of the answer (of the first sample), with the EOS that ended it."""
    params: SamplingParams


class Take(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag_field="take"):
    """What all takes share."""

    apart: ClassVar[bool] = True
    """Cooked by a second engine; else a request of the first one."""
    most_tokens: ClassVar[int] = 200
    """Of the answer, unless the knob ``max_tokens`` says otherwise. A take is to show something, not to be read whole;
    it stands between other readers and their answers while it cooks."""

    @property
    def name(self) -> str:
        return str(self.__struct_config__.tag)

    @property
    def knobs(self) -> dict[str, Any]:
        """The fields, as they are asked for."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if name != "take"}

    def prompt_ids(self, parent: Parent) -> list[int]:
        """What is prefilled."""
        return parent.token_ids

    def params(self, parent: Parent) -> SamplingParams:
        """How the answer is drawn: as the parent's, one sample, by no drafter but those of a second engine, and no
        longer than a take should be."""
        asked = getattr(self, "max_tokens", None)
        most = asked or min(parent.params.max_tokens, self.most_tokens)
        return replace(parent.params, n=1, drafter=None, max_tokens=most)

    @property
    def asked_probes(self) -> Probes:
        """What is looked at more closely."""
        return Probes()

    def check(self, parent: Parent) -> None:
        """Raise ``KnobError`` for a knob that is in its range but not in the parent's."""


# ---- on the first engine -------------------------------------------------------------------------------------------


class Again(Take, frozen=True, tag="again"):
    """The same once more: what the prefix cache still has of the prompt is not computed again. Wants the visitor's own
    salt, and finds nothing where the blocks have been evicted meanwhile."""

    apart = False

    def params(self, parent: Parent) -> SamplingParams:
        return parent.params


class Fork(Take, frozen=True, tag="fork"):
    """Another token at ``position`` of the answer, and on from there. The parent's tokens before it are the prompt."""

    apart = False
    position: Annotated[int, Meta(ge=1, le=2**24)]
    token_id: Annotated[int, Meta(ge=0, le=2**24)]

    def prompt_ids(self, parent: Parent) -> list[int]:
        before = [*parent.token_ids, *parent.output_ids][: self.position]
        return [*before, self.token_id]

    def params(self, parent: Parent) -> SamplingParams:
        gone = self.position + 1 - len(parent.token_ids)
        left = max(1, min(parent.params.max_tokens - gone, self.most_tokens))
        return replace(parent.params, n=1, max_tokens=left)

    def check(self, parent: Parent) -> None:
        first, last = len(parent.token_ids), len(parent.token_ids) + len(parent.output_ids) - 1
        if not first <= self.position <= last:
            raise KnobError(
                "position",
                f"position must be a whole number from {first} to {last} (the answer's tokens), got {self.position}",
            )


class Probe(Take, frozen=True, tag="probe"):
    """A closer look at what has been: the parent's ids, answer and all, are prefilled once more and probed. Positions
    are the parent's."""

    apart = False
    probes: Probes

    def prompt_ids(self, parent: Parent) -> list[int]:
        return [*parent.token_ids, *parent.output_ids]

    def params(self, parent: Parent) -> SamplingParams:
        return replace(parent.params, n=1, max_tokens=1)

    @property
    def asked_probes(self) -> Probes:
        return self.probes

    def check(self, parent: Parent) -> None:
        if not self.probes.names:
            raise KnobError("probes", "probes must ask for something: kv, logits, attention or tiles, got nothing")
        try:
            self.probes.check_sizes()
        except ValueError as error:
            raise KnobError("probes", str(error)) from None


# ---- one request alone, another way --------------------------------------------------------------------------------


class Race(Take, frozen=True):
    """One lane of a race: the lanes must be asked for with the same knobs."""

    max_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    dtype: Dtype = "auto"

    def params(self, parent: Parent) -> SamplingParams:
        params = super().params(parent)
        return params if self.temperature is None else replace(params, temperature=self.temperature)


class Standard(Race, frozen=True, tag="standard"):
    """A token a step: nobody drafts."""


class Speculative(Race, frozen=True, tag="speculative"):
    """A drafter guesses ahead, the model verifies."""

    drafter: DrafterName = "eagle"
    num_speculative_tokens: Drafts = 4


class LookUp(Race, frozen=True, tag="look-up"):
    """Guesses are looked up in the text so far."""

    drafter: Literal["ngram"] = "ngram"
    num_speculative_tokens: Drafts = 4


class Mismatched(Race, frozen=True, tag="mismatched"):
    """A drafter that was trained on the wrong text."""

    drafter: Literal["mismatched"] = "mismatched"
    num_speculative_tokens: Drafts = 4


class Samples(Take, frozen=True, tag="samples"):
    """``n`` answers to one prompt, which is computed once: a fork shares all blocks, the first write copies one."""

    most_tokens = 64
    n: Annotated[int, Meta(ge=2, le=8)] = 3
    max_tokens: MaxTokens | None = None

    def params(self, parent: Parent) -> SamplingParams:
        return replace(super().params(parent), n=self.n)


class _Precision(Take, frozen=True):
    most_tokens = 96
    max_tokens: MaxTokens | None = None


class Int8(_Precision, frozen=True, tag="int8"):
    """Weights of 8 bits."""


class Int4(_Precision, frozen=True, tag="int4"):
    """Weights of 4 bits, rounded to nearest."""


class Int4AWQ(_Precision, frozen=True, tag="int4-awq"):
    """Weights of 4 bits, salient channels scaled first."""


class KVInt8(_Precision, frozen=True, tag="kv-int8"):
    """Keys and values of 8 bits."""


# ---- among neighbours ----------------------------------------------------------------------------------------------


class Crowd(Take, frozen=True):
    """The parent's request and ``num_neighbours`` made-up ones with known lengths; the log goes on until the last has
    ended."""

    most_tokens = 48
    max_tokens: MaxTokens | None = None
    """Of the reader's own request, and the mean of its neighbours'."""

    @property
    def num_neighbours(self) -> int:
        return int(getattr(self, "neighbours"))  # noqa: B009  each kind has its own default and range


class RushHour(Crowd, frozen=True, tag="rush-hour"):
    """``neighbours`` stand in line before the reader."""

    most_tokens = 32
    neighbours: Annotated[int, Meta(ge=1, le=8)] = 6
    max_num_seqs: Annotated[int, Meta(ge=1, le=8)] = 2


class _Policy(Crowd, frozen=True):
    neighbours: Annotated[int, Meta(ge=1, le=15)] = 7
    spread: Annotated[float, Meta(ge=0.0, le=1.0)] = 1.0
    """Of output lengths: 0, all the same; 1, from nearly nothing to nearly twice the mean."""
    max_num_seqs: Annotated[int, Meta(ge=1, le=16)] = 4
    arrival_steps: Annotated[int, Meta(ge=0, le=64)] = 0
    """Steps from one neighbour's arrival to the next one's; 0: all are in line from the beginning."""


class Static(_Policy, frozen=True, tag="static"):
    """Nobody is let in until the whole batch has finished."""


class Continuous(_Policy, frozen=True, tag="continuous"):
    """Whoever is next is let in as soon as a slot is free. The same workload as ``static``."""


class _Long(Crowd, frozen=True):
    """Neighbours with long prompts come while the reader's answer is being written."""

    neighbours: Annotated[int, Meta(ge=1, le=4)] = 1
    prompt_tokens: Annotated[int, Meta(ge=64, le=1024)] = 640
    """Of each neighbour."""
    max_num_batched_tokens: Annotated[int, Meta(ge=16, le=4096)] = 2048
    """Of one step: a longer prompt is read in several."""


class Unchunked(_Long, frozen=True, tag="unchunked"):
    """A step may be so long that a neighbour's whole prompt goes in at once: everybody else waits for it."""


class Chunked(_Long, frozen=True, tag="chunked"):
    """Prompts are read in pieces, and everybody else writes a token with each. The same workload as ``unchunked``."""

    max_num_batched_tokens: Annotated[int, Meta(ge=16, le=4096)] = 64


class Batch(Crowd, frozen=True, tag="batch"):
    """So many requests at once, and all their lengths differ: the batch shrinks by one after another."""

    most_tokens = 128
    max_num_seqs: Annotated[int, Meta(ge=1, le=32)] = 16

    @property
    def num_neighbours(self) -> int:
        return self.max_num_seqs - 1


class Pool(Crowd, frozen=True):
    """A crowd in a pool that the take is about. ``num_blocks`` None: one in which it shows."""

    neighbours: Annotated[int, Meta(ge=1, le=8)] = 5
    block_size: BlockSize = 16
    num_blocks: Annotated[int, Meta(ge=2, le=4096)] | None = None


class _Allocator(Pool, frozen=True):
    n: Annotated[int, Meta(ge=1, le=4)] = 1

    def params(self, parent: Parent) -> SamplingParams:
        return replace(super().params(parent), n=self.n)


class Slab(_Allocator, frozen=True, tag="slab"):
    """Each request reserves one piece of memory for its worst case."""


class Paged(_Allocator, frozen=True, tag="paged"):
    """Each takes blocks as it grows. The same workload and pool as ``slab``."""

    share: bool = True
    """Whether the block of the system prompt, with which all begin, is stored once and shared."""


class Starved(Pool, frozen=True, tag="starved"):
    """A pool in which not all have room: somebody is preempted, and what was kept is evicted."""


AnyTake = (
    Again
    | Fork
    | Probe
    | Standard
    | Speculative
    | LookUp
    | Mismatched
    | Samples
    | Int8
    | Int4
    | Int4AWQ
    | KVInt8
    | RushHour
    | Static
    | Continuous
    | Unchunked
    | Chunked
    | Batch
    | Slab
    | Paged
    | Starved
)
KINDS: dict[str, type[Take]] = {str(kind.__struct_config__.tag): kind for kind in AnyTake.__args__}


# ---- asked for -----------------------------------------------------------------------------------------------------


def read_take(asked: dict[str, Any]) -> Take:
    """The take that ``asked`` describes: its name under ``take``, and its knobs. Raises ``KnobError``."""
    name = asked.get("take")
    if not isinstance(name, str) or name not in KINDS:
        raise KnobError("take", f"take must be one of {', '.join(KINDS)}, got {_short(name)}")
    kind = KINDS[name]
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for knob in asked.keys() - {"take"} - fields.keys():
        known = f"has the knobs {', '.join(fields)}" if fields else "has no knobs"
        raise KnobError("", f"take {name!r} {known}, and no {_short(knob)}")
    values: dict[str, Any] = {}
    for knob, field in fields.items():
        if knob not in asked:
            if field.required:
                raise KnobError(knob, f"{knob} is missing: it must be {_range_of(field.type)}")
            continue
        values[knob] = _read(knob, field.type, asked[knob])
    return cast(Callable[..., Take], kind)(**values)


def _read(knob: str, kind: Any, value: object) -> object:  # noqa: ANN401  a type, as msgspec takes it
    if kind is Probes and isinstance(value, list):
        try:
            return Probes.of(value)
        except (ValueError, TypeError) as error:
            raise KnobError(knob, str(error)) from None
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        if kind is Probes:
            raise KnobError(knob, f"probes must be a list of names or an object: {error}") from None
        raise KnobError(knob, f"{knob} must be {_range_of(kind)}, got {_short(value)}") from None


def _range_of(kind: Any) -> str:  # noqa: ANN401
    """What a knob of that type may be, in words."""
    found = msgspec.inspect.type_info(kind)
    if isinstance(found, msgspec.inspect.UnionType):
        within = [_range_of_info(each) for each in found.types if not isinstance(each, msgspec.inspect.NoneType)]
        return f"{' or '.join(within)}, or null"
    return _range_of_info(found)


def _range_of_info(found: msgspec.inspect.Type) -> str:
    if isinstance(found, msgspec.inspect.LiteralType):
        return f"one of {', '.join(map(str, found.values))}"
    if isinstance(found, msgspec.inspect.BoolType):
        return "true or false"
    if isinstance(found, msgspec.inspect.IntType):
        return f"a whole number from {found.ge} to {found.le}"
    if isinstance(found, msgspec.inspect.FloatType):
        return f"a number from {found.ge} to {found.le}"
    return "an object"


def _short(value: object) -> str:
    """A caller's own word, short and safe to repeat."""
    shown = repr(value)
    return (shown if len(shown) <= 64 else shown[:63] + "…").encode("utf-8", "replace").decode()
