"""Probes: a closer look at a request, asked for together with it. What may be asked for, and how much of it.

A *position* is that of a token, counted from 0 at the prompt's first; a negative one counts back from the prompt's end
(-1 is its last token). What a probe shows at a position belongs to the token that stands there: its logits (what the
*next* token is drawn from) and its query (with which it looks back). The last token drawn is never computed, so the
last position that can be probed is ``prompt tokens + max_tokens - 2``; one that a request never reaches, because it
ended before, is never said. To look at a run that is over, send its token ids as a prompt with ``max_tokens`` 1:
every position of it, the generated ones too, is then computed once more and can be probed.

Imports no torch: the app uses it too. What is done about all this is in ``prober.py``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec.structs import replace

from inference.events import ModelCard

MAX_LOGITS = 8
"""Positions. 5.3 bytes of log a vocabulary entry: 262 kB a position for 49,152 of them."""
MAX_ATTENTION_POSITIONS = 64
"""11 bytes of log a layer and head for each summary: 2.9 kB a position for 30 layers of 9 heads."""
MAX_ATTENTION_WEIGHTS = 2**19
"""Over all positions, layers and heads. 2.7 bytes of log each: 1.4 MB in all."""
MAX_TILES_TOKENS = 256
MAX_TILES = 1024
"""Each is 27 bytes of log a row, and some 0.1 ms of work."""
MAX_NAMED = 256
"""Layers or heads: more than any model here has. Together with the next, so that no list or number is endless."""
MAX_POSITION = 2**24


class AttentionProbe(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Whom the tokens at ``positions`` look at: the weights themselves of ``heads`` in ``layers`` (None: of all; empty:
    of none), and unless ``summary`` is false a summary of every head of every layer. ``whole``: those of the positions
    whose weights are told (None: all); the others have their summary alone."""

    positions: tuple[int, ...]
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    whole: tuple[int, ...] | None = None
    summary: bool = True


class TilesProbe(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A flash-attention pass, tile by tile, over the first ``num_tokens`` of the prompt (all of a shorter one) in one
    head of one layer. ``block_q`` and ``block_k``: queries and keys to a tile."""

    layer: int = 0
    head: int = 0
    num_tokens: int = 64
    block_q: int = 16
    block_k: int = 16

    @property
    def num_tiles(self) -> int:
        """How many a causal pass looks at, at most: those that hold a key before or at one of their queries."""
        lasts = range(self.block_q, self.num_tokens + self.block_q, self.block_q)
        return sum(-(-min(last, self.num_tokens) // self.block_k) for last in lasts)


class Probes(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What is asked to be shown of a request; each is an event of its own (``probe.*`` in ``events.py``).

    ``kv``: norms of keys and values of everything, in all layers and heads. ``logits``: positions.
    """

    kv: bool = False
    logits: tuple[int, ...] = ()
    attention: AttentionProbe | None = None
    tiles: TilesProbe | None = None

    @classmethod
    def of(cls, asked: Probes | Collection[str]) -> Probes:
        """Probes, or a list of the names of those that take no more words: ``["kv"]``. Raises ``ValueError``."""
        if isinstance(asked, Probes):
            return asked
        if unknown := [name for name in asked if name != "kv"]:
            raise ValueError(f"probes, as a list of names, must be among ['kv'], got {unknown}")
        return cls(kv="kv" in asked)

    @property
    def names(self) -> list[str]:
        """What is asked for, by the events' names."""
        asked = {"kv": self.kv, "logits": self.logits, "attention": self.attention, "tiles": self.tiles}
        return [name for name, value in asked.items() if value]

    def describe(self) -> Any:  # noqa: ANN401
        """As ``POST /api/runs`` takes it: the list of names where that says all, else an object."""
        return self.names if self == Probes(kv=self.kv) else msgspec.to_builtins(self)

    # ---- what may be asked for

    def check_sizes(self) -> None:
        """Raise ``ValueError`` for what no model could be asked for: too much of anything."""
        far = MAX_POSITION
        _at_most("probes.logits", self.logits, MAX_LOGITS, "positions")
        _each_within("probes.logits", self.logits, -far, far)
        if (attention := self.attention) is not None:
            _at_most("probes.attention.positions", attention.positions, MAX_ATTENTION_POSITIONS, "positions")
            _each_within("probes.attention.positions", attention.positions, -far, far)
            _at_most("probes.attention.whole", attention.whole or (), MAX_ATTENTION_POSITIONS, "positions")
            _each_within("probes.attention.whole", attention.whole or (), -far, far)
            for name in ("layers", "heads"):
                _at_most(f"probes.attention.{name}", getattr(attention, name) or (), MAX_NAMED, name)
                _each_within(f"probes.attention.{name}", getattr(attention, name) or (), 0, MAX_NAMED - 1)
            if not attention.positions:
                raise ValueError("probes.attention.positions must name at least one position, got none")
            if not attention.summary and () in (attention.layers, attention.heads, attention.whole):
                raise ValueError("probes.attention asks for nothing: summary is false, and no head is named")
        if (tiles := self.tiles) is not None:
            for name in ("layer", "head"):
                _each_within(f"probes.tiles.{name}", [getattr(tiles, name)], 0, MAX_NAMED - 1)
            for name in ("num_tokens", "block_q", "block_k"):
                _each_within(f"probes.tiles.{name}", [getattr(tiles, name)], 1, MAX_TILES_TOKENS)
            if tiles.num_tiles > MAX_TILES:
                raise ValueError(
                    f"probes.tiles must be at most {MAX_TILES} tiles, got {tiles.num_tiles} "
                    f"({tiles.num_tokens} tokens in tiles of {tiles.block_q} x {tiles.block_k})"
                )

    def resolve(self, card: ModelCard, num_prompt_tokens: int, max_tokens: int) -> Probes | None:
        """The same with every position counted from 0 and in order, and with all layers and heads by number; None if
        nothing is asked for. Raises ``ValueError`` that names the field, the value and its range for what this model
        and this prompt do not have."""
        if not self.names:
            return None
        first, last = -num_prompt_tokens, num_prompt_tokens + max_tokens - 2
        what = f"{num_prompt_tokens} prompt tokens, max_tokens {max_tokens}"

        def positions(name: str, values: tuple[int, ...]) -> tuple[int, ...]:
            _each_within(name, values, first, last, what)
            return tuple(sorted({value + num_prompt_tokens if value < 0 else value for value in values}))

        layers, heads = (card.num_layers, "layers"), (card.num_heads, "heads")
        attention, tiles = self.attention, self.tiles
        if attention is not None:
            attention = AttentionProbe(
                positions=positions("probes.attention.positions", attention.positions),
                layers=_chosen("probes.attention.layers", attention.layers, *layers),
                heads=_chosen("probes.attention.heads", attention.heads, *heads),
                whole=positions("probes.attention.whole", _whole(attention)),
                summary=attention.summary,
            )
        if tiles is not None:
            _chosen("probes.tiles.layer", (tiles.layer,), *layers)
            _chosen("probes.tiles.head", (tiles.head,), *heads)
        logits = positions("probes.logits", self.logits)
        self.check_sizes()
        if attention is not None:
            _check_weights(attention)
        if tiles is not None:
            tiles = replace(tiles, num_tokens=min(tiles.num_tokens, num_prompt_tokens))
        return Probes(kv=self.kv, logits=logits, attention=attention, tiles=tiles)

    # ---- what is still owed (of resolved probes)

    def first_owed(self, num_probed_tokens: int) -> int | None:
        """The first position that has to be computed for a probe, when those before ``num_probed_tokens`` have had
        theirs: no query and no logits can be had of what comes out of the prefix cache. None: no more."""
        if self.tiles is not None and num_probed_tokens < self.tiles.num_tokens:
            return 0
        wanted = self.logits + (self.attention.positions if self.attention is not None else ())
        return min((position for position in wanted if position >= num_probed_tokens), default=None)


def _at_most(name: str, values: Collection[int], most: int, what: str) -> None:
    if len(values) > most:
        raise ValueError(f"{name} may name at most {most} {what}, got {len(values)}")


def _each_within(name: str, values: Collection[int], low: int, high: int, what: str = "") -> None:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            because = f" ({what})" if what else ""
            raise ValueError(f"{name} must be a whole number from {low} to {high}{because}, got {value!r}")


def _chosen(name: str, values: tuple[int, ...] | None, count: int, what: str) -> tuple[int, ...]:
    if values is None:
        return tuple(range(count))
    _each_within(name, values, 0, count - 1, f"the model has {count} {what}")
    return tuple(sorted(set(values)))


def _whole(attention: AttentionProbe) -> tuple[int, ...]:
    """The positions whose weights are asked for."""
    if attention.whole is None:
        return attention.positions
    for value in attention.whole:
        if value not in attention.positions:
            raise ValueError(f"probes.attention.whole must be among probes.attention.positions, got {value!r}")
    return attention.whole


def _check_weights(attention: AttentionProbe) -> None:
    assert attention.layers is not None and attention.heads is not None, "resolved"  # noqa: PT018
    heads = len(attention.layers) * len(attention.heads)
    count = heads * sum(position + 1 for position in _whole(attention))
    if count > MAX_ATTENTION_WEIGHTS:
        raise ValueError(
            f"probes.attention may ask for at most {MAX_ATTENTION_WEIGHTS} weights, got {count} "
            f"({len(attention.layers)} layers, {len(attention.heads)} heads, {len(_whole(attention))} positions)"
        )
