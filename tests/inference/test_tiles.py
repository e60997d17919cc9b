"""The instrumented flash-attention pass equals plain attention, its books are right, and a broken one is caught."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from inference.attention import tiles as module_under_test
from inference.attention.reference import Rule, attend, causal_mask, scores
from inference.attention.tiles import Tile, flash_attention
from inference.probes import TilesProbe


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


RULES = {
    "plain": Rule(0.4),
    "window": Rule(0.4, sliding_window=5),
    "softcap": Rule(0.9, softcap=1.5),
    "sink": Rule(0.4, sinks=torch.tensor(0.7)),
    "all": Rule(0.6, sliding_window=3, softcap=2.0, sinks=torch.tensor(-0.5)),
}


def plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rule: Rule) -> torch.Tensor:
    mask = causal_mask(torch.arange(len(query)), len(key), rule.sliding_window)
    found = attend(
        query[None, None], key[None, None], value[None, None], mask, rule.scaling, softcap=rule.softcap,
        sinks=None if rule.sinks is None else rule.sinks.reshape(1),
    )  # fmt: skip
    return found[0, 0]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("tokens", [1, 2, 7, 16, 33])
@pytest.mark.parametrize(("block_q", "block_k"), [(1, 1), (4, 4), (8, 3), (3, 8), (64, 64)])
def test_it_is_attention_and_its_books_are_right(rule: str, tokens: int, block_q: int, block_k: int) -> None:
    told = RULES[rule]
    query, key, value = (random(tokens, 8, seed=seed + tokens) for seed in range(3))
    output, tiles = flash_attention(query, key, value, told, block_q=block_q, block_k=block_k)
    torch.testing.assert_close(output, plain(query, key, value, told), atol=1e-5, rtol=1e-5)

    seen = causal_mask(torch.arange(tokens), tokens, told.sliding_window)
    every = scores(query, key, told.scaling, told.softcap).masked_fill(~seen, float("-inf"))
    assert len({(tile.query_tile, tile.key_tile) for tile in tiles}) == len(tiles)
    needed = {(int(q) // block_q, int(k) // block_k) for q, k in seen.nonzero()}
    assert {(tile.query_tile, tile.key_tile) for tile in tiles} == needed, "every tile with a key to see, and no other"
    assert [(t.query_tile, t.key_tile) for t in tiles] == sorted(needed), "queries outside, keys inside"
    for tile in tiles:
        check_books(tile, every, told, block_q, block_k)


def check_books(tile: Tile, every: torch.Tensor, rule: Rule, block_q: int, block_k: int) -> None:
    """By the whole rows of scores, which a real kernel never has."""
    rows = every[tile.query_tile * block_q : (tile.query_tile + 1) * block_q]
    inside = rows[:, tile.key_tile * block_k : (tile.key_tile + 1) * block_k]
    so_far = rows[:, : (tile.key_tile + 1) * block_k]
    before = rows[:, : tile.key_tile * block_k]
    if rule.sinks is not None:
        extra = rule.sinks.expand(len(rows), 1)
        so_far, before = torch.cat([so_far, extra], dim=1), torch.cat([before, extra], dim=1)
    torch.testing.assert_close(tile.tile_max, inside.amax(dim=1))
    torch.testing.assert_close(tile.row_max, so_far.amax(dim=1))
    shown = so_far.amax(dim=1) > float("-inf")
    torch.testing.assert_close(tile.row_sum[shown], (so_far - tile.row_max[:, None]).exp().sum(dim=1)[shown])
    if before.shape[1]:
        torch.testing.assert_close(tile.rescale[shown], (before.amax(dim=1) - tile.row_max).exp()[shown])
    else:
        assert not tile.rescale.any()


def test_the_number_of_tiles_is_known_beforehand() -> None:
    for tokens, block_q, block_k in [(1, 1, 1), (7, 3, 2), (16, 4, 8), (33, 8, 5), (33, 64, 64), (20, 5, 20)]:
        query = random(tokens, 4, seed=0)
        _, tiles = flash_attention(query, query, query, Rule(1.0), block_q=block_q, block_k=block_k)
        probe = TilesProbe(num_tokens=tokens, block_q=block_q, block_k=block_k)
        assert probe.num_tiles == len(tiles)


MUTATIONS = {
    "the sum is not rescaled": ("rescale * row_sum", "row_sum"),
    "the output is not rescaled": ("rescale[:, None] * accumulator", "accumulator"),
    "the rescaling is by the tile's own maximum": ("torch.exp(row_max - finite)", "torch.exp(tile_max - finite)"),
    "the output is not divided": ("accumulator / row_sum[:, None]", "accumulator"),
    "no causality inside a tile": (".masked_fill(~seen, float(\"-inf\"))", ""),
    "the last tile is left out": ("range(oldest // block_k * block_k, rows.stop, block_k)",
                                  "range(oldest // block_k * block_k, max(rows.stop - block_k, 1), block_k)"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_pass_is_caught(name: str) -> None:
    right, wrong = MUTATIONS[name]
    source = inspect.getsource(module_under_test)
    assert source.count(right) == 1
    broken: dict[str, Any] = {"__name__": "broken"}
    scope = SimpleNamespace(**broken)
    exec(compile(source.replace(right, wrong).replace("@dataclass(slots=True)\n", ""), "broken", "exec"), vars(scope))
    vars(scope)["Tile"] = lambda *parts: None
    query, key, value = (3 * random(19, 8, seed=seed) for seed in range(3))
    output, _ = scope.flash_attention(query, key, value, Rule(0.4), block_q=4, block_k=4)
    assert not torch.allclose(output, plain(query, key, value, Rule(0.4)), atol=1e-2)
