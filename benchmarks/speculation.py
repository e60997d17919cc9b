"""Speculative decoding at batch 1: what each drafter is worth, and what it would have to be worth.

All sides run in one process on one model and take turns step by step, so that a machine that slows down slows all.
Chat-templated prompts, at temperature 0 and as the page samples; everything is read from the engine's own events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.engine import PROMPTS
from benchmarks.figures import Figure, at_least, median, under
from inference import Engine, EngineConfig, SamplingParams
from inference.events import Event, SpeculationJudged, StepFinished, StepStarted
from inference.models import Model, load_model

DRAFTERS = ("none", "eagle", "ngram", "mismatched")
LENGTHS = (1, 2, 3)
"""Drafts at a time."""
NEW_TOKENS = 40
NUM_PROMPTS = 4
SEARCHED = 2
"""Prompts over which the best of ``LENGTHS`` is looked for."""
GREEDY = SamplingParams(temperature=0.0, max_tokens=NEW_TOKENS, ignore_eos=True)
SAMPLED = SamplingParams(
    temperature=0.6, top_p=0.9, repetition_penalty=1.1, seed=1, max_tokens=NEW_TOKENS, ignore_eos=True
)


@dataclass
class Side:
    """What was heard of the answers that one drafter had a hand in; prompts are not counted."""

    decodes: list[StepFinished] = field(default_factory=list)
    verifies: list[StepFinished] = field(default_factory=list)
    judged: list[SpeculationJudged] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    """Tokens a second, answer by answer."""

    def hear(self, events: list[Event]) -> None:
        """Take in all that was said about one answer."""
        phases = {event.step: event.phase for event in events if isinstance(event, StepStarted)}
        steps = [event for event in events if isinstance(event, StepFinished) and phases[event.step] != "prefill"]
        self.decodes += [step for step in steps if phases[step.step] == "decode"]
        self.verifies += [step for step in steps if phases[step.step] == "verify"]
        self.judged += [event for event in events if isinstance(event, SpeculationJudged)]
        self.rates.append((NEW_TOKENS - 1) / sum(step.seconds for step in steps))

    @property
    def mean_accepted(self) -> float:
        """Drafts accepted a verification."""
        return sum(each.num_accepted for each in self.judged) / max(1, len(self.judged))

    def accepted_at(self, place: int) -> tuple[float, int]:
        """Share of the drafts at ``place`` (from 0) that were accepted where those before were, and of how many."""
        reached = [each for each in self.judged if each.num_accepted >= place and each.num_drafts > place]
        return sum(each.num_accepted > place for each in reached) / max(1, len(reached)), len(reached)


def compare(
    model: Model, prompts: Sequence[list[int]], params: SamplingParams, sides: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], Side]:
    """Every one of ``sides`` (drafter, drafts at a time) answers every prompt, each on an engine of its own; none is
    always the first."""
    heard: dict[tuple[str, int], list[Event]] = {side: [] for side in sides}
    engines = {side: Engine(model, config_of(*side), heard[side].append) for side in sides}
    found = {side: Side() for side in sides}
    for turn, prompt in enumerate((prompts[0], *prompts)):
        for side, engine in engines.items():
            heard[side].clear()
            engine.add_request(prompt, params)
        first = turn % len(sides)
        while busy := [side for side in (*sides[first:], *sides[:first]) if engines[side].has_unfinished_requests()]:
            for side in busy:
                engines[side].step()
        for side in sides if turn else ():  # the first answer warms up
            found[side].hear(heard[side])
    return found


def config_of(drafter: str, k: int) -> EngineConfig:
    """An engine that has nobody else to serve."""
    name = None if drafter == "none" else drafter
    return EngineConfig(enable_prefix_caching=False, num_blocks=64, drafter=name, num_speculative_tokens=k)


def faster(side: Side, base: Side) -> float:
    """The median answer's ratio of tokens a second."""
    return median([ours / theirs for ours, theirs in zip(side.rates, base.rates, strict=True)])


def cost_of_lengths(found: dict[tuple[str, int], Side]) -> list[Figure]:
    """What verifying and drafting cost, by the number of drafts, and what acceptance pays for it."""
    figures = []
    decodes = found["none", LENGTHS[0]].decodes
    plain, plain_pass = median([s.seconds for s in decodes]), median([s.forward_seconds for s in decodes])
    for k in LENGTHS:
        side = found["eagle", k]
        steps = [step for step in side.verifies if step.num_tokens == k + 1]
        width, whole = (median([getattr(s, name) for s in steps]) for name in ("forward_seconds", "seconds"))
        draft = median([step.draft_seconds / k for step in steps])
        figures += [
            Figure(f"k = {k}: a pass over {k + 1} tokens / over one", width / plain_pass, "x"),
            Figure(f"k = {k}: drafting, a token / a pass over one", draft / plain_pass, "x"),
            Figure(f"k = {k}: accepted drafts a step that break even", whole / plain - 1, "drafts"),
            Figure(f"k = {k}: accepted drafts a step, eagle, greedy", side.mean_accepted, "drafts"),
            Figure(f"k = {k}: eagle / none, greedy", faster(side, found["none", LENGTHS[0]]), "x"),
        ]
    return figures


def run(model_name: str = "smollm2-135m") -> Iterator[Figure]:
    """Measure; each figure as soon as it is there."""
    model = load_model(model_name)
    prompts = [model.tokenizer.encode_chat(text).token_ids for text in PROMPTS[:NUM_PROMPTS]]
    searched = compare(model, prompts[:SEARCHED], GREEDY, [("none", LENGTHS[0]), *(("eagle", k) for k in LENGTHS)])
    yield from cost_of_lengths(searched)
    best = max(LENGTHS, key=lambda k: faster(searched["eagle", k], searched["none", LENGTHS[0]]))
    yield Figure("best k of eagle, greedy", best, "drafts")
    for what, params in (("greedy", GREEDY), ("sampled", SAMPLED)):
        sides = compare(model, prompts, params, [(name, best) for name in DRAFTERS])
        none = sides["none", best]
        for name in DRAFTERS:
            side = sides[name, best]
            yield Figure(f"{name}, k = {best}, {what}, {model.card.dtype}", median(side.rates), "tok/s")
            if name != "none":
                yield Figure(f"{name}, {what}: accepted drafts a verification", side.mean_accepted, "drafts")
            for place in range(best if name != "none" else 0):
                share, reached = side.accepted_at(place)
                yield Figure(f"{name}, {what}: draft {place + 1} accepted ({reached} reached)", share, "of 1")
        yield at_least(f"eagle / none, {what}", faster(sides["eagle", best], none), "x", 1.25)
        yield Figure(f"ngram / none, {what}", faster(sides["ngram", best], none), "x")
        yield under(f"mismatched / none, {what}", faster(sides["mismatched", best], none), "x", 1.0)
