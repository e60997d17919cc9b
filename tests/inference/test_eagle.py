"""The draft head: drafting equals itself however it is cut up, equals what training unrolls, and knows its target."""

from __future__ import annotations

import dataclasses
import json

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from inference import Engine, EngineConfig, Model, SamplingParams
from inference.speculation.answers import Text, write_answers, wrong_text
from inference.speculation.chat_prompts import HELD_OUT, resembles_held_out, training_prompts
from inference.speculation.eagle import DraftState, EagleHead, config_for, draft, load_head, save_head
from inference.speculation.evaluation import acceptance
from inference.speculation.features import compute_features, hidden_states
from inference.speculation.train_drafter import WEIGHTS
from inference.speculation.training import (
    DraftLoss,
    Recipe,
    draft_vocabulary,
    go_on_from,
    new_head,
    token_table,
    train,
    unrolled,
)

LAYERS = (0, 1)


@pytest.fixture
def head(tiny: Model) -> EagleHead:
    """A random head for the tiny model that may propose 600 tokens."""
    torch.manual_seed(1)
    config = config_for(tiny, feature_layers=LAYERS, draft_vocab_size=600, table_rank=4)
    head = EagleHead(config, tiny.module.get_input_embeddings().weight, tiny.module.get_output_embeddings().weight)
    for parameter in head.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    head.set_draft_ids(torch.randperm(tiny.card.vocab_size)[:600].sort().values)
    head.token_table[:600] = torch.randn(600, 4)
    return head.train(False).requires_grad_(False)


def text(model: Model, length: int, seed: int) -> tuple[list[int], torch.Tensor]:
    """Random tokens and the tiny model's features of them."""
    ids = torch.randint(0, model.card.vocab_size, (length,), generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        features = hidden_states(model.module, LAYERS, ids[None])[0]
    return ids.tolist(), features


def from_scratch(head: EagleHead, ids: list[int], features: torch.Tensor, k: int):
    state = DraftState.new(head)
    state.observe(0, features[: len(ids) - 1])
    return draft(head, [state], [ids], k)


def test_features_are_the_layers_outputs(tiny: Model) -> None:
    ids, features = text(tiny, 9, 0)
    before = tiny.module.config._attn_implementation
    tiny.module.set_attn_implementation("eager")
    states = tiny.module.base_model(torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states
    tiny.module.set_attn_implementation(before)
    assert torch.allclose(features[:, :16], states[1][0], atol=1e-5)
    normed = tiny.module.base_model.norm(features[:, 16:])
    assert torch.allclose(normed, states[2][0], atol=1e-5)  # transformers gives the last one normed


@pytest.mark.parametrize("cuts", [[3], [1, 2, 3, 4, 5, 6], [5, 12], [17, 18, 25, 39]])
def test_incremental_is_from_scratch(tiny: Model, head: EagleHead, cuts: list[int]) -> None:
    """Drafting after each of several verifications equals drafting once: nothing of a rejected draft is left."""
    ids, features = text(tiny, 40, 2)
    state, observed = DraftState.new(head), 0
    for cut in cuts:
        state.observe(observed, features[observed:cut])
        observed = cut
        drafts = draft(head, [state], [ids[: cut + 1]], 5)
        expected = from_scratch(head, ids[: cut + 1], features, 5)
        assert drafts.token_ids == expected.token_ids
        assert torch.allclose(drafts.logits, expected.logits, atol=1e-4)
        assert drafts.logits.shape == (1, 5, 600)
        assert set(drafts.token_ids[0]) <= set(head.draft_ids.tolist())


def test_sequences_do_not_mix(tiny: Model, head: EagleHead) -> None:
    texts = [text(tiny, length, length) for length in (5, 31, 2, 16)]
    states = [DraftState.new(head) for _ in texts]
    for state, (ids, features) in zip(states, texts, strict=True):
        state.observe(0, features[: len(ids) - 1])
    together = draft(head, states, [ids for ids, _ in texts], 3)
    for row, (ids, features) in enumerate(texts):
        alone = from_scratch(head, ids, features, 3)
        assert together.token_ids[row] == alone.token_ids[0]
        assert torch.allclose(together.logits[row], alone.logits[0], atol=1e-4)


def test_training_unrolls_what_drafting_does(tiny: Model, head: EagleHead) -> None:
    """Each unrolled step equals drafting with the text's own tokens as proposals; a row off by one would show."""
    places = torch.randint(0, 600, (20,), generator=torch.Generator().manual_seed(3))
    ids = head.draft_ids[places]
    features = hidden_states(tiny.module, LAYERS, ids[None])[0]
    outputs = unrolled(head, ids[None], features[None], 4)
    for start in (1, 2, 9, 16):
        state = DraftState.new(head)
        state.observe(0, features[:start])
        said = places[start + 1 :]
        drafts = draft(head, [state], [ids[: start + 1].tolist()], 3, lambda step, _, said=said: said[step, None])
        for step in range(3):
            expected = head.logits(outputs[step][0, start + step - 1])
            assert torch.allclose(drafts.logits[0, step], expected, atol=1e-4)


def test_observing_twice_and_with_a_gap(tiny: Model, head: EagleHead) -> None:
    ids, features = text(tiny, 30, 4)
    state = DraftState.new(head)
    state.observe(0, features[:10])
    draft(head, [state], [ids[:11]], 2)
    state.observe(4, features[4:20])  # computed again after a preemption
    again = draft(head, [state], [ids[:21]], 3)
    assert again.token_ids == from_scratch(head, ids[:21], features, 3).token_ids
    state.observe(24, features[24:29])  # the prefix cache had 20 to 23
    after = draft(head, [state], [ids], 3)
    fresh = DraftState.new(head)
    fresh.observe(24, features[24:29])
    assert torch.allclose(after.logits, draft(head, [fresh], [ids], 3).logits, atol=1e-4)


def test_missing_features_are_an_error(tiny: Model, head: EagleHead) -> None:
    ids, features = text(tiny, 12, 5)
    state = DraftState.new(head)
    state.observe(0, features[:8])
    with pytest.raises(ValueError, match="sequence 0 has 12 tokens, so the features of its first 11"):
        draft(head, [state], [ids], 2)


def test_save_and_load(tiny: Model, head: EagleHead, tmp_path) -> None:
    """Every matrix comes back within half a step of its row's int8 scale, all else as it was; and saving what was
    loaded changes nothing more."""
    save_head(head, tmp_path / "head.safetensors")
    loaded = load_head(tmp_path / "head.safetensors", tiny)
    before, after = head.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        step = tensor.abs().amax(dim=1, keepdim=True) / 127 if tensor.dim() == 2 else 0.0
        assert ((after[name] - tensor).abs() <= 0.501 * step).all(), name
    save_head(loaded, tmp_path / "again.safetensors")
    again = load_head(tmp_path / "again.safetensors", tiny)
    ids, features = text(tiny, 12, 6)
    drafts = [from_scratch(each, ids, features, 4) for each in (loaded, again)]
    assert torch.allclose(drafts[0].logits, drafts[1].logits, atol=1e-4)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("vocab_size", 32000, "vocab_size 32000"),
        ("hidden_size", 768, "hidden_size"),
        ("num_target_layers", 9, "layers 9"),
    ],
)
def test_another_target_is_an_error(tiny: Model, head: EagleHead, tmp_path, field, value, said) -> None:
    head.config = msgspec.structs.replace(head.config, **{field: value})
    save_head(head, tmp_path / "head.safetensors")
    with pytest.raises(ValueError, match=f"was trained for tiny, .*{said}"):
        load_head(tmp_path / "head.safetensors", tiny)


def test_not_a_head_is_an_error(tiny: Model, tmp_path) -> None:
    (tmp_path / "text").write_text("no weights")
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    for name in ("text", "other", "missing"):
        with pytest.raises(ValueError, match="is not a draft head"):
            load_head(tmp_path / name, tiny)


@pytest.mark.parametrize("overlap_weight", [0.0, 0.7])
def test_the_loss_has_its_own_gradient(overlap_weight: float) -> None:
    """The closed form against autograd, over more rows than one chunk."""
    torch.manual_seed(0)
    steps, rows, hidden, vocabulary = 2, 300, 8, 40
    normed = torch.randn(steps, rows, hidden, dtype=torch.float32, requires_grad=True)
    target, output = torch.randn(rows, hidden), torch.randn(vocabulary, hidden)
    weights = torch.rand(steps, rows) * (torch.rand(steps, rows) > 0.2)
    loss, sums = DraftLoss.apply(normed, target, weights, output, overlap_weight)
    loss.backward()
    closed, normed.grad = normed.grad.clone(), None
    p, logits = (target @ output.T).softmax(-1), normed @ output.T
    q = logits.softmax(-1)
    level = logits.logsumexp(-1) - (target @ output.T).logsumexp(-1)
    overlap = torch.minimum(p, q).sum(-1)
    each = (p * (p.log() - q.log())).sum(-1) + 0.01 * level.square() - overlap_weight * overlap.log()
    expected = (each * weights).sum()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert torch.allclose(closed, normed.grad, atol=1e-4)
    counted = weights > 0
    assert torch.allclose(sums[0], (overlap.detach() * counted).sum(1), rtol=1e-4)


def test_held_out_prompts_are_held_out() -> None:
    prompts = training_prompts(0)
    assert len(HELD_OUT) == len(set(HELD_OUT)) == 40
    assert len(prompts) > 3000
    assert not any(own in prompt for own in HELD_OUT for prompt in prompts)
    assert resembles_held_out("give me a simple recipe for pumpkin soup")
    assert training_prompts(1) == training_prompts(1) != training_prompts(2)


def test_answers_are_resumed(tiny: Model, tmp_path) -> None:
    """A run that was cut short goes on, and answers nothing twice."""
    path = tmp_path / "answers.jsonl"
    told: list[tuple[int, int]] = []
    options = {"count": 6, "num_invented": 0, "seed": 3, "max_tokens": 4, "batch": 4}
    write_answers(tiny, path, **options, progress=lambda *p: told.append(p))
    assert told[-1] == (6, 6)
    whole = path.read_text().splitlines()
    assert len({json.loads(line)["index"] for line in whole}) == 6
    path.write_text("\n".join(whole[:3]) + "\n" + whole[3][:20])
    texts = write_answers(tiny, path, **options, progress=lambda *p: None)
    assert path.read_text().splitlines()[:3] == whole[:3]
    prompts = {tuple(json.loads(line)["prompt_ids"]) for line in whole}
    assert {tuple(each.token_ids[: each.num_prompt_tokens]) for each in texts} == prompts


def test_going_on_from_a_head_keeps_what_it_knows(tiny: Model, head: EagleHead) -> None:
    """With another draft vocabulary and a table in other coordinates, the tokens of both get the logits they had."""
    other = EagleHead(msgspec.structs.replace(head.config, draft_vocab_size=700), head._embedding, head._target_output)
    more = torch.tensor([each for each in range(2000) if each not in set(head.draft_ids.tolist())][:100])
    other.set_draft_ids(torch.cat((head.draft_ids, more)).sort().values)
    turn = torch.linalg.qr(torch.randn(4, 4)).Q
    places = torch.searchsorted(other.draft_ids, head.draft_ids)
    other.token_table[places] = head.token_table[:600] @ turn
    go_on_from(other.train(False), head)
    places_seen = torch.randint(0, 600, (12,), generator=torch.Generator().manual_seed(8))
    ids = head.draft_ids[places_seen]
    features = hidden_states(tiny.module, LAYERS, ids[None])[0]
    expected, found = (from_scratch(each, ids.tolist(), features, 1).logits[0, 0] for each in (head, other))
    assert torch.allclose(found[places], expected, atol=1e-3)
    narrow = EagleHead(msgspec.structs.replace(head.config, table_rank=3), head._embedding)
    with pytest.raises(ValueError, match="table_rank 4; 3 was asked for"):
        go_on_from(narrow, head)


def test_wrong_text_is_source_without_prose(tiny: Model) -> None:
    texts = wrong_text(tiny, num_tokens=2000)
    assert sum(len(each.token_ids) for each in texts) >= 2000
    source = "\n".join(tiny.tokenizer.decode(each.token_ids) for each in texts)
    assert "import " in source
    assert '"""' not in source
    assert "# " not in source


def test_training_lowers_the_loss_and_evaluation_counts(tiny: Model, tmp_path) -> None:
    """A small head on a few texts learns them; acceptance as evaluated is that of drafting at every place."""
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(100, 160, (6, 40), generator=generator)
    texts = [Text(row.tolist(), 5) for row in ids]
    store = compute_features(tiny, texts, tmp_path / "f", LAYERS, progress=lambda *_: None)
    again = compute_features(tiny, texts, tmp_path / "f", LAYERS, progress=lambda *_: pytest.fail("computed twice"))
    assert torch.equal(store.features, again.features)
    vocabulary = draft_vocabulary(tiny, store, 300)
    assert torch.isin(store.answered(), vocabulary).all()
    head = new_head(tiny, config_for(tiny, feature_layers=LAYERS, draft_vocab_size=300, table_rank=4), store, 0)
    head.set_draft_ids(vocabulary)
    head.token_table = token_table(tiny, vocabulary, 4)
    assert head.token_table.shape == (301, 4)
    told: list[float] = []
    recipe = Recipe(epochs=30, tokens_per_batch=120, overlap_weight=0.2)
    norm = tiny.module.base_model.norm
    train(head, norm, store, recipe, say=lambda _, __, figures: told.append(figures["loss"]))
    assert sum(told[-3:]) < 0.8 * sum(told[:3])
    params = SamplingParams(temperature=0.0)
    answer = greedy_answer(tiny, texts[0].token_ids[:8], 20)
    evaluated = acceptance(tiny, head, [Text(answer, 8)], params, 3)
    matched = [0, 0, 0]
    starts = range(8, len(answer) - 3 + 1)
    features = hidden_states(tiny.module, LAYERS, torch.tensor([answer]))[0]
    following = greedy_answer(tiny, answer, 1)
    for start in starts:
        drafted = from_scratch(head, answer[: start + 1], features, 3).token_ids[0]
        for place in range(3):
            matched[place] += drafted[: place + 1] == following[start + 1 : start + 2 + place]
    assert evaluated.reached == pytest.approx([count / len(starts) for count in matched])
    assert dataclasses.asdict(evaluated)["conditional"][0] == pytest.approx(evaluated.reached[0])


def greedy_answer(model: Model, ids: list[int], count: int) -> list[int]:
    ids = list(ids)
    for _ in range(count):
        last = hidden_states(model.module, LAYERS, torch.tensor([ids]))[0, -1, -model.card.hidden_size :]
        ids.append(int(model.module.lm_head(model.module.base_model.norm(last)).argmax()))
    return ids


def test_overlap_is_one_for_a_perfect_guess() -> None:
    normed = torch.randn(1, 5, 8)
    _, sums = DraftLoss.apply(normed, normed[0], torch.ones(1, 5), torch.randn(30, 8), 0.0)
    assert torch.allclose(sums, torch.full((2, 1), 5.0))


@pytest.fixture(scope="module")
def accepted_first(model: Model) -> dict[str, float]:
    """By head: the share of first drafts that the default model's own greedy answers (float32) to prompts that no head
    has seen bear out."""
    asked = [model.tokenizer.encode_chat(prompt).token_ids for prompt in HELD_OUT[:6]]
    engine = Engine(model, EngineConfig(max_num_seqs=len(asked)))
    outputs = engine.generate(asked, SamplingParams(temperature=0.0, max_tokens=24, ignore_eos=True))
    answers = [Text(ids + output.token_ids, len(ids)) for ids, output in zip(asked, outputs, strict=True)]
    heads = {name: load_head(WEIGHTS / f"{name}-smollm2-135m.safetensors", model) for name in ("eagle", "mismatched")}
    greedy = SamplingParams(temperature=0.0)
    return {name: acceptance(model, head, answers, greedy, 1).reached[0] for name, head in heads.items()}


def test_the_shipped_eagle_fits_the_default_model(accepted_first: dict[str, float]) -> None:
    assert accepted_first["eagle"] > 0.25


def test_the_mismatched_head_is_the_worse_apprentice(accepted_first: dict[str, float]) -> None:
    assert accepted_first["mismatched"] < 0.5 * accepted_first["eagle"]
