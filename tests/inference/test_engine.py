"""The engine's public face: what it takes, refuses, returns, and how a request ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from inference import Engine, EngineConfig, Model, SamplingParams
from inference.events import Event, RequestFinished, TokenSampled
from inference.sequence import RequestOutput


def drain(engine: Engine) -> dict[str, RequestOutput]:
    finished = {}
    while engine.has_unfinished_requests():
        finished.update({output.request_id: output for output in engine.step() if output.finished})
    engine.check_integrity()
    return finished


def ids_of(model: Model, text: str) -> list[int]:
    return model.tokenizer.encode(text)


class Puppet(Engine):
    """An engine whose model says what it is told, so that ends can be tested."""

    def script(self, *token_ids: int) -> Puppet:
        words = iter(token_ids)
        draw = self._sampler.sample

        def sample(logits, sequences, **kwargs):
            drawn = draw(logits, sequences, **kwargs)
            for one in drawn:
                one.id = next(words)
            return drawn

        self._sampler.sample = sample
        return self


# ---- what it takes and refuses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("block_size", 0), ("num_blocks", -1), ("max_num_seqs", 0), ("max_num_batched_tokens", 0),
        ("policy", "fast"), ("policy", ["static"]), ("allocator", "heap"), ("slab_reserve", "all"),
        ("drafter", "eagle"), ("max_model_len", 1), ("block_size", 1.5),
    ],
)  # fmt: skip
def test_a_bad_configuration_is_named(tiny: Model, field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Engine(tiny, EngineConfig(**{field: value}))


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "at least one token"),
        ([], "at least one token"),
        ("caf\ud800", "lone surrogate at character 3"),
        ([1, -1], "token ids from 0"),
        ([1, 10**6], "token ids from 0"),
        ([1, "2"], "token ids from 0"),
        ([1, True], "token ids from 0"),
        (list(range(1100)), "over max_model_len"),
    ],
)
def test_a_bad_prompt_is_refused_and_leaves_nothing(tiny: Model, prompt: str | list[int], words: str) -> None:
    engine = Engine(tiny)
    with pytest.raises(ValueError, match=words):
        engine.add_request(prompt, SamplingParams(max_tokens=4))
    assert not engine.has_unfinished_requests()
    engine.check_integrity()


def test_what_can_never_fit_the_pool_is_refused(tiny: Model) -> None:
    engine = Engine(tiny, EngineConfig(block_size=4, num_blocks=4))
    with pytest.raises(ValueError, match="needs 5 blocks and the pool has 4"):
        engine.add_request(list(range(10)), SamplingParams(max_tokens=8))
    (output,) = engine.generate([list(range(10))], SamplingParams(max_tokens=7, ignore_eos=True))
    assert len(output.token_ids) == 7
    engine.check_integrity()


def test_requests_need_names_of_their_own_and_known_probes(tiny: Model) -> None:
    engine = Engine(tiny)
    engine.add_request("a", request_id="same")
    with pytest.raises(ValueError, match="already in the engine"):
        engine.add_request("b", request_id="same")
    with pytest.raises(ValueError, match="probes"):
        engine.add_request("c", probes=["x-ray"])
    assert engine.add_request("d") != engine.add_request("d")


def test_nul_and_markup_are_only_text(tiny: Model) -> None:
    outputs = Engine(tiny).generate(["\0", "<script>alert(1)</script>"], SamplingParams(max_tokens=2))
    assert all(output.finished for output in outputs)


def test_generate_refuses_all_if_one_is_bad(tiny: Model) -> None:
    engine = Engine(tiny)
    with pytest.raises(ValueError):
        engine.generate(["fine", ""])
    assert not engine.has_unfinished_requests()


def test_generate_keeps_the_order_and_takes_params_for_each(tiny: Model) -> None:
    params = [SamplingParams(max_tokens=n, ignore_eos=True) for n in (7, 1, 4)]
    outputs = Engine(tiny, EngineConfig(max_num_seqs=2)).generate(["one", "two", "three"], params)
    assert [len(output.token_ids) for output in outputs] == [7, 1, 4]
    assert [output.finish_reason for output in outputs] == ["length"] * 3


# ---- how a request ends --------------------------------------------------------------------------------------------


def test_eos_ends_it_stays_in_the_ids_and_not_in_the_text(tiny: Model) -> None:
    eos = min(tiny.eos_token_ids)
    words = ids_of(tiny, "soup is ready")
    (output,) = Puppet(tiny).script(*words, eos).generate("x", SamplingParams(max_tokens=20))
    assert output.token_ids == [*words, eos]
    assert output.text == "soup is ready"
    assert output.finish_reason == "stop"
    assert output.usage.completion_tokens == len(words) + 1
    (output,) = Puppet(tiny).script(eos, eos, eos).generate("x", SamplingParams(max_tokens=3, ignore_eos=True))
    assert output.token_ids == [eos] * 3
    assert output.finish_reason == "length"
    assert output.text == ""


@pytest.mark.parametrize(
    ("text", "stops", "kept", "stop"),
    [
        ("one two three four", (" three",), "one two", " three"),
        ("one two three four", ("wo thr",), "one t", "wo thr"),
        ("one two three four", ("four", "two"), "one ", "two"),
        ("one two three four", ("two three", "two"), "one ", "two"),
        ("one two three four", ("five",), "one two three four", None),
        ("Zwölf 👩‍🍳 kochen", ("👩‍🍳",), "Zwölf ", "👩‍🍳"),
    ],
)
def test_stop_strings_cut_the_text_and_keep_the_ids(
    tiny: Model, text: str, stops: tuple[str, ...], kept: str, stop: str | None
) -> None:
    events: list[Event] = []
    words = ids_of(tiny, text)
    engine = Puppet(tiny, on_event=events.append).script(*words, *[min(tiny.eos_token_ids)])
    (output,) = engine.generate("x", SamplingParams(max_tokens=50, stop=stops))
    assert output.text == kept
    assert output.finish_reason == "stop"
    assert output.token_ids == words[: len(output.token_ids)] or stop is None
    (finished,) = [event for event in events if isinstance(event, RequestFinished)]
    assert finished.stop == stop
    assert finished.text == kept
    assert "".join(event.text for event in events if isinstance(event, TokenSampled)) == kept, (
        "no part of a stop is said"
    )


def test_characters_are_never_split(tiny: Model) -> None:
    text = "🍅 naïve 日本語 👩‍🍳"
    events: list[Event] = []
    words = ids_of(tiny, text)
    (output,) = Puppet(tiny, on_event=events.append).script(*words).generate("x", SamplingParams(max_tokens=len(words)))
    assert output.text == text
    pieces = [event.text for event in events if isinstance(event, TokenSampled)]
    assert "".join(pieces) == text
    assert "" in pieces
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_cut_off_by_the_length_shows_as_such(tiny: Model) -> None:
    words = ids_of(tiny, "🍅")
    assert len(words) > 1
    (output,) = Puppet(tiny).script(*words).generate("x", SamplingParams(max_tokens=1))
    assert output.text == "\ufffd"


# ---- aborting ------------------------------------------------------------------------------------------------------


def test_abort_ends_running_and_waiting_ones(tiny: Model) -> None:
    events: list[Event] = []
    engine = Engine(tiny, EngineConfig(max_num_seqs=1), events.append)
    params = SamplingParams(max_tokens=10, ignore_eos=True)
    for name in ("a", "b", "c"):
        engine.add_request("hello there", params, request_id=name)
    engine.step()
    assert engine.abort("a")
    assert engine.abort("b")
    assert not engine.abort("a")
    assert not engine.abort("nobody")
    engine.check_integrity()
    outputs = {output.request_id: output for output in engine.step()}
    assert outputs["a"].finish_reason == outputs["b"].finish_reason == "aborted"
    assert len(outputs["a"].token_ids) == 1
    assert outputs["b"].token_ids == []
    assert drain(engine)["c"].finish_reason == "length"
    reasons = {event.request_id: (event.reason, event.slot) for event in events if isinstance(event, RequestFinished)}
    assert reasons == {"a": ("aborted", 0), "b": ("aborted", None), "c": ("length", 0)}


def test_an_id_can_be_used_again_after_its_end(tiny: Model) -> None:
    engine = Engine(tiny)
    engine.add_request("x", SamplingParams(max_tokens=1), request_id="a")
    drain(engine)
    engine.add_request("x", SamplingParams(max_tokens=1), request_id="a")
    assert set(drain(engine)) == {"a"}


def test_an_idle_step_does_nothing(tiny: Model) -> None:
    events: list[Event] = []
    assert Engine(tiny, on_event=events.append).step() == []
    assert events == []


# ---- visitors, and the process that must not import torch ----------------------------------------------------------


def test_salts_keep_visitors_apart_beyond_the_public_prefix(tiny: Model) -> None:
    engine = Engine(tiny, EngineConfig(block_size=4))
    prompt = list(range(200, 220))

    def cached(salt: str) -> int:
        engine.add_request(prompt, SamplingParams(max_tokens=1), request_id=salt, cache_salt=salt, num_public_tokens=8)
        return drain(engine)[salt].usage.cached_tokens

    assert [cached("ann"), cached("bob"), cached("ann")] == [0, 8, 16]


def test_the_light_modules_leave_torch_alone() -> None:
    code = (
        "import sys, inference, inference.events, inference.messages, inference.sequence, inference.costs\n"
        "from inference import SamplingParams, RequestOutput\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
