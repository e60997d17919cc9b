"""The room of pages: what it says of the pool is counted again here, in Python, from the log of whoever is on stage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Page

from benchmarks.browser import until
from tests.browser.conftest import OpenPage, ask, wait_closed
from tests.browser.rooms import Event, cook_something, described, log_on_stage, picture_of, set_control, table_of, visit

OWN, SLAB, PAGED, SAMPLES, STARVED, LAST = range(6)
Name = tuple[str, int]


@dataclass
class Pool:
    """Block tables and pool as a log tells them, without the page's help."""

    own: str = ""
    block_size: int = 0
    num_blocks: int = 0
    tables: dict[Name, list[int]] = field(default_factory=dict)
    computed: dict[Name, int] = field(default_factory=dict)
    cached: set[int] = field(default_factory=set)
    copies: int = 0
    evictions: int = 0
    preemptions: int = 0

    def play(self, events: list[Event]) -> Pool:
        items: list[Event] = []
        for event in events:
            name = (event.get("request_id", ""), event.get("sample", 0))
            match event["type"]:
                case "log.opened":
                    self.own = event["run_id"]
                    self.block_size, self.num_blocks = event["engine"]["block_size"], event["engine"]["num_blocks"]
                case "snapshot":
                    self.cached = set(event["cached_block_ids"])
                    for guest in event["requests"]:
                        seated = (guest["request_id"], guest["sample"])
                        self.tables[seated] = list(guest["block_ids"])
                        self.computed[seated] = guest["num_computed_tokens"]
                case "block.allocated" | "block.shared":
                    self.tables.setdefault(name, [])[event["start"] :] = event["block_ids"]
                    self.cached -= set(event["block_ids"])
                case "block.copied":
                    self.tables[name][event["index"]] = event["block_id"]
                    self.copies += 1
                case "block.released":
                    self._release(name, event)
                case "block.evicted":
                    self.cached.discard(event["block_id"])
                    self.evictions += 1
                case "request.admitted":
                    self.computed[name] = event["cached_tokens"]
                case "request.preempted":
                    self.preemptions += 1
                case "kv.written" if name == (self.own, 0):
                    self.computed[name] = event["stop"]
                case "step.started":
                    items = event["requests"]
                case "step.finished":
                    for item in items:
                        if (item["request_id"], item["sample"]) != (self.own, 0):
                            self.computed[item["request_id"], item["sample"]] = item["stop"]
        return self

    def _release(self, name: Name, event: Event) -> None:
        gone = event["block_ids"]
        self.tables[name] = [block_id for block_id in self.tables[name] if block_id not in gone]
        self.computed[name] = 0
        for block_id, count, kept in zip(gone, event["ref_counts"], event["cached"], strict=True):
            if count == 0 and kept:
                self.cached.add(block_id)

    @property
    def own_pages(self) -> int:
        return len(self.tables.get((self.own, 0), []))

    def filled(self) -> dict[int, int]:
        """Of each held block, the places in which something stands."""
        stands: dict[int, int] = {}
        for name, table in self.tables.items():
            for index, block_id in enumerate(table):
                here = min(self.block_size, max(0, self.computed.get(name, 0) - index * self.block_size))
                stands[block_id] = max(here, stands.get(block_id, 0))
        return stands

    def numbers(self) -> list[int]:
        """What ``describe`` says: own, total, size, held, kept, free, empty, places."""
        stands = self.filled()
        held, places = len(stands), len(stands) * self.block_size
        kept = len(self.cached - stands.keys())
        free = self.num_blocks - held - kept
        own = self.own_pages
        return [own, self.num_blocks, self.block_size, held, kept, free, places - sum(stands.values()), places]

    def slab_numbers(self) -> list[int]:
        """The same of slabs, which keep nothing: own, total, size, held, empty, places."""
        own, total, size, held, _, _, empty, places = self.numbers()
        return [own, total, size, held, empty, places]

    def lengths(self) -> list[int]:
        return [self.computed[name] for name, table in self.tables.items() if table and self.computed.get(name)]


def numbers_in(text: str) -> list[int]:
    return [int(digits.replace(",", "")) for digits in re.findall(r"\d[\d,]*", text)]


def first_sentence(text: str) -> str:
    return text.split(". ")[0]


def moments(page: Page) -> Iterator[list[Event]]:
    """Three moments of the run on stage: its events up to there, once the page stands there."""
    last: int = page.evaluate("window.__kitchen.cast.main.log.seq")
    for share in (0.2, 0.55, 0.9):
        page.evaluate(
            "seq => { const { player, stage } = window.__kitchen;"
            " player.pause(); player.seek(seq); stage.invalidate('playhead'); }",
            int(last * share),
        )
        page.wait_for_timeout(300)
        yield log_on_stage(page)


def figure(page: Page, key: str) -> str:
    text: str = page.inner_text(f"#paging [data-value='{key}'] .figure")
    return text.replace("\u202f", " ")


@pytest.mark.parametrize("step", [OWN, SAMPLES, STARVED, LAST])
def test_the_room_says_what_the_log_says(open_page: OpenPage, step: int) -> None:
    page = open_page(reduced_motion="reduce")
    visit(page, "paging", step)
    for events in moments(page):
        pool = Pool().play(events)
        text = described(page)
        assert numbers_in(first_sentence(text)) == pool.numbers(), text
        for words, count in (("Copies at a first write", pool.copies), ("Evictions", pool.evictions)):
            assert f"{words}: {count}." in text if count else words not in text
        holders = max([0, *(sum(b in t for t in pool.tables.values()) for b in pool.filled())])
        assert ("Shared pages" in text) == (holders > 1)
        if holders > 1:
            assert f"the most shared by {holders}." in text


def test_slabs_and_pages_are_counted_alike(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    visit(page, "paging", SLAB)
    for events in moments(page):
        text = described(page)
        assert numbers_in(first_sentence(text)) == Pool().play(events).slab_numbers(), text
    visit(page, "paging", PAGED)
    for events in moments(page):
        text = described(page)
        assert numbers_in(first_sentence(text)) == Pool().play(events).numbers(), text
        slab = Pool().play(log_on_stage(page, "slab")).slab_numbers()
        found = re.search(r"In slabs the same requests hold ([\d,]+) pages, ([\d,]+) of ([\d,]+)", text)
        assert found is not None
        assert numbers_in(" ".join(found.groups())) == slab[3:]


def test_the_waste_on_the_page_is_the_waste_in_the_log(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    for step, keys in ((SLAB, ("slab",)), (PAGED, ("slab", "paged"))):
        visit(page, "paging", step)
        for _ in moments(page):
            for key in keys:
                pool = Pool().play(log_on_stage(page, key))
                *_, empty, places = pool.numbers()
                shown = float(figure(page, f"paging.{key}Waste").removesuffix(" %"))
                assert shown == pytest.approx(100 * empty / places, rel=0.005), (step, key)
    visit(page, "paging", PAGED)
    assert float(figure(page, "paging.slabWaste").removesuffix(" %")) > 60
    assert float(figure(page, "paging.pagedWaste").removesuffix(" %")) < 15


def test_a_page_of_another_size_changes_what_is_modelled(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    visit(page, "paging", PAGED)
    lengths = Pool().play(log_on_stage(page)).lengths()
    seen = []
    for size in (4, 8, 16, 32, 64):
        page.check(f"[data-control=paging_block_size][value='{size}']", force=True)
        page.wait_for_timeout(200)
        text = described(page)
        each = sum(-length % size for length in lengths) / len(lengths)
        found = re.search(r"With (\d+) tokens a page ([\d.]+) places a guest would be empty", text)
        assert found is not None, text
        assert int(found[1]) == size
        assert float(found[2]) == pytest.approx(each, rel=0.005)
        seen.append(picture_of(page))
    assert len(set(seen)) == 5


def test_a_pool_of_another_size_is_too_small_or_not(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    visit(page, "paging", STARVED)
    text = described(page)
    found = re.search(r"(\d+) pages are wanted at once; a pool of (\d+) would be (\d+) short", text)
    assert found is not None, text
    need, pool, short = map(int, found.groups())
    assert pool == Pool().play(log_on_stage(page)).num_blocks
    assert short == need - pool > 0
    before = picture_of(page)
    for size in (1, need - 3, need, 64):
        set_control(page, "paging_num_blocks", size)
        assert f"a pool of {size} would be {max(0, need - size)} short" in described(page)
        assert picture_of(page) != before


def test_the_copy_and_the_preemption_are_on_stage_at_their_moment(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    visit(page, "paging", SAMPLES)
    assert log_on_stage(page)[-1]["type"] == "block.copied"
    assert Pool().play(log_on_stage(page)).copies == 1
    assert "Copies at a first write: 1." in described(page)
    visit(page, "paging", STARVED)
    assert log_on_stage(page)[-1]["type"] == "request.preempted"
    assert "Preemptions: 1." in described(page)


@pytest.mark.parametrize("step", [OWN, SLAB, PAGED, SAMPLES, STARVED])
def test_the_table_is_the_state(open_page: OpenPage, step: int) -> None:
    page = open_page(reduced_motion="reduce")
    visit(page, "paging", step)
    pool = Pool().play(log_on_stage(page))
    rows = table_of(page)["rows"]
    told = sorted((row[2], row[5]) for row in rows if row[5])
    counted = [(pool.computed.get(name, 0), " ".join(map(str, table))) for name, table in pool.tables.items() if table]
    assert told == sorted(counted)
    assert all(row[3] * pool.block_size == row[2] + row[4] for row in rows)


def test_every_step_has_a_picture_of_its_own(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    pictures = []
    for step in range(6):
        visit(page, "paging", step)
        pictures.append(picture_of(page))
    assert len(set(pictures)) == 6


def test_a_live_run_and_its_takes(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    run_id = cook_something(page)
    for step in (OWN, SLAB, PAGED, SAMPLES, STARVED, LAST):
        visit(page, "paging", step)
        events = log_on_stage(page)
        if step in (OWN, LAST):
            assert events[0]["run_id"] == run_id, step
        pool = Pool().play(events)
        text = described(page)
        slab = events[0]["engine"].get("allocator") == "slab"
        assert numbers_in(first_sentence(text)) == (pool.slab_numbers() if slab else pool.numbers()), (run_id, step)


@pytest.mark.slow
def test_the_reader_cooks_with_pages_of_another_size(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    ask(page)
    wait_closed(page)
    visit(page, "paging", PAGED)
    page.check("[data-control=paging_block_size][value='8']", force=True)
    page.click("#paging [data-take=paged]")
    ready = "(({ cast }) => cast.takes.get('paged').log?.opened?.knobs?.block_size === 8)(window.__kitchen)"
    until(page, ready, seconds=120)
    visit(page, "paging", PAGED)
    assert numbers_in(first_sentence(described(page)))[2] == 8
