"""The replay of the merges against the tokenizers library: the same ids on whatever text."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from inference import Model
from inference.bpe import BPE, Word
from inference.tokenizer import _byte_alphabet
from tests.inference.prompts import PROMPTS

# Whatever Unicode has, what tokenizers stumble over made likely, words without end, and every byte through U+0000-00FF.
NASTY = [
    "🍅",
    "👩‍👩‍👧",
    "🇯🇵",
    "e\u0301",
    "a\u0308\u0323\u0327",
    "\u200d",
    "\ufe0f",
    "ไ",
    "한",
    "ß",
    "�",
    "\x00",
    "\xad",
    "▁",
    "Ġ",
    "ﷺ",
]
WORDS = [
    "<|im_start|>",
    "<|im_end|>",
    "<unk>",
    "<s>",
    "<0xE2>",
    "<tool>",
    "the",
    " the",
    "hello",
    "12345",
    " ",
    "  ",
    "\n\n",
    "\t",
]
characters = st.one_of(
    st.characters(exclude_categories=("Cs",)),
    st.sampled_from(NASTY),
    st.sampled_from("abcdeilnorst .,'0123456789"),
)
any_bytes = st.binary(max_size=60)
texts = st.one_of(
    st.text(characters.filter(lambda c: len(c) == 1), max_size=80),
    st.lists(st.one_of(characters, st.sampled_from(WORDS)), max_size=40).map("".join),
    any_bytes.map(lambda raw: raw.decode("utf-8", "replace")),
    any_bytes.map(lambda raw: raw.decode("latin-1")),
    st.builds(lambda part, times: part * times, st.text("ab é1", min_size=1, max_size=4), st.integers(50, 400)),
)


def ids_of(words: list[Word]) -> list[int]:
    return [token for word in words for token in word.token_ids]


def walk(word: Word) -> list[int]:
    """A second reading of what a replay says: each merge must find its two neighbours where it says."""
    spans = {start: (symbol, start + 1) for start, symbol in enumerate(word.symbols)}
    for merge in word.merges:
        left, middle = spans[merge.position]
        right, stop = spans.pop(middle)
        assert (left, right) == (merge.left, merge.right)
        spans[merge.position] = merge.result, stop
    return [symbol for _, (symbol, _) in sorted(spans.items())]


def check(tokenizer: Tokenizer, replay: BPE, text: str, *, add_special_tokens: bool = True) -> None:
    words = replay.replay(text, add_special_tokens=add_special_tokens)
    assert ids_of(words) == tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
    assert all(walk(word) == list(word.token_ids) for word in set(words))


# ---- the default model's ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm(model: Model) -> tuple[Tokenizer, BPE]:
    backend = model.tokenizer.hf.backend_tokenizer
    return backend, BPE(backend)


@given(texts)
@example("x" * 20_000)
@example("".join(chr(0x4E00 + i * 7 % 20_000) for i in range(5_000)))
@settings(max_examples=5000, deadline=None)
def test_the_default_models_ids_on_any_text(smollm: tuple[Tokenizer, BPE], text: str) -> None:
    check(*smollm, text)


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_the_default_models_ids_on_prompts(smollm: tuple[Tokenizer, BPE], model: Model, prompt: object) -> None:
    assert ids_of(smollm[1].replay(prompt.text)) == model.tokenizer.hf(prompt.text)["input_ids"]


@given(st.binary(max_size=200))
@settings(max_examples=1000, deadline=None)
def test_bytes_that_are_no_utf_8(smollm: tuple[Tokenizer, BPE], raw: bytes) -> None:
    """No ``str`` holds a stray byte, so a tokenizer never meets one as text. Its BPE model takes one all the same,
    spelled in the byte alphabet."""
    tokenizer, replay = smollm
    spelling = {byte: character for character, byte in _byte_alphabet().items()}
    word = "".join(spelling[byte] for byte in raw)
    symbols = [i for byte in raw if (i := tokenizer.token_to_id(spelling[byte])) is not None]
    assert list(replay.merge(symbols).token_ids) == [token.id for token in tokenizer.model.tokenize(word)]


def test_lone_surrogates_are_refused_by_both(smollm: tuple[Tokenizer, BPE]) -> None:
    for encode in (smollm[0].encode, smollm[1].replay):
        with pytest.raises(TypeError):
            encode(b"\xe2".decode("utf-8", "surrogateescape"))


def test_merges_of_one_word_by_hand(smollm: tuple[Tokenizer, BPE]) -> None:
    tokenizer, replay = smollm
    (word,) = replay.replay(" the")
    spelled = [(tokenizer.id_to_token(m.left), tokenizer.id_to_token(m.right), m.position) for m in word.merges]
    assert [tokenizer.id_to_token(symbol) for symbol in word.symbols] == ["Ġ", "t", "h", "e"]
    assert spelled == [("Ġ", "t", 0), ("h", "e", 2), ("Ġt", "he", 0)]
    assert [m.rank for m in word.merges] == sorted(m.rank for m in word.merges)
    assert word.merges[0].rank == 0  # "Ġ t" is the first merge of the file


# ---- other kinds -----------------------------------------------------------------------------------------------------

CORPUS = [prompt.text for prompt in PROMPTS[:24]] * 2


def byte_level(**options: object) -> Tokenizer:
    """GPT-2's kind, as trained by the library on our prompts."""
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


def sentencepiece(*, byte_fallback: bool, fuse_unk: bool, legacy: bool, whole: bool = False) -> Tokenizer:
    """Llama's kind: ▁ for spaces, a dummy one in front, bytes or <unk> for what is not known, <s> before a text.
    ``legacy`` puts the ▁ there in the normalizer (Llama 2), else in the pre-tokenizer."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.train_from_iterator(CORPUS[:15], trainers.BpeTrainer(vocab_size=500, show_progress=False))
    learnt = trained.get_vocab()
    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    pieces = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)), *sorted(learnt, key=learnt.__getitem__)]
    tokenizer = Tokenizer(
        models.BPE(
            {piece: i for i, piece in enumerate(dict.fromkeys(pieces))},
            merges,
            unk_token="<unk>",
            byte_fallback=byte_fallback,
            fuse_unk=fuse_unk,
            ignore_merges=whole,
        )
    )
    if legacy:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=whole)
    tokenizer.add_special_tokens([AddedToken("<s>", normalized=False), AddedToken("<unk>", normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def with_added_tokens() -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.add_special_tokens([AddedToken("<|im_start|>", lstrip=True), AddedToken("<|im_end|>", rstrip=True)])
    tokenizer.add_tokens([AddedToken("the", single_word=True), AddedToken("<tool>", normalized=True), "hello"])
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=12, pad_id=0)
    return tokenizer


def affixed() -> Tokenizer:
    """A prefix on what continues a word, a suffix on what ends it."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<unk>"],
        continuing_subword_prefix="##",
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS[:15], trainer)
    return tokenizer


KINDS = {
    "byte-level": byte_level,
    "added tokens": with_added_tokens,
    "Llama 2": lambda: sentencepiece(byte_fallback=True, fuse_unk=True, legacy=True),
    "Mistral": lambda: sentencepiece(byte_fallback=True, fuse_unk=False, legacy=False),
    "fused unk": lambda: sentencepiece(byte_fallback=False, fuse_unk=True, legacy=False),
    "separate unk": lambda: sentencepiece(byte_fallback=False, fuse_unk=False, legacy=True),
    "ignore_merges": lambda: sentencepiece(byte_fallback=True, fuse_unk=False, legacy=False, whole=True),
    "affixes": affixed,
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[Tokenizer, BPE]:
    tokenizer: Tokenizer = request.param()
    return tokenizer, BPE(tokenizer)


@given(texts, st.booleans())
@settings(max_examples=400, deadline=None)
def test_ids_of_other_kinds(kind: tuple[Tokenizer, BPE], text: str, add_special_tokens: bool) -> None:
    tokenizer, replay = kind
    whole = Tokenizer.from_str(tokenizer.to_str()) if tokenizer.truncation else tokenizer
    whole.no_truncation()
    whole.no_padding()
    check(whole, replay, text, add_special_tokens=add_special_tokens)


@given(texts)
@settings(max_examples=200, deadline=None)
def test_names_of_special_tokens_read_as_text(smollm: tuple[Tokenizer, BPE], text: str) -> None:
    tokenizer, replay = smollm
    tokenizer.encode_special_tokens = True
    try:
        expected = tokenizer.encode(text).ids
    finally:
        tokenizer.encode_special_tokens = False
    assert ids_of(replay.replay(text, plain=True)) == expected


@st.composite
def random_bpe(draw: st.DrawFn) -> Tokenizer:
    """Merges that no corpus would teach: in any order, reachable or not, several ways to the same symbol."""
    vocabulary = list("abc")
    merges: dict[tuple[str, str], None] = {}
    rng = draw(st.randoms(use_true_random=False))
    for _ in range(draw(st.integers(1, 25))):
        pair = (rng.choice(vocabulary), rng.choice(vocabulary))
        merges[pair] = None
        if "".join(pair) not in vocabulary:
            vocabulary.append("".join(pair))
    shuffled = list(merges)
    rng.shuffle(shuffled)
    return Tokenizer(models.BPE({piece: i for i, piece in enumerate(vocabulary)}, shuffled))


@given(random_bpe(), st.lists(st.text("abc", max_size=60), min_size=1, max_size=5))
@settings(max_examples=500, deadline=None)
def test_ids_of_any_list_of_merges(tokenizer: Tokenizer, words: list[str]) -> None:
    replay = BPE(tokenizer)
    for text in words:
        check(tokenizer, replay, text)


def test_the_order_is_by_rank_and_then_from_the_left() -> None:
    """The two ways to get it wrong that random text seldom shows."""
    vocabulary = {piece: i for i, piece in enumerate(["a", "b", "c", "aa", "bc", "ab", "aab"])}
    replay = BPE(Tokenizer(models.BPE(vocabulary, [("b", "c"), ("a", "a"), ("a", "b"), ("aa", "b")])))
    (word,) = replay.replay("aaabc")
    assert [(m.rank, m.position) for m in word.merges] == [(0, 3), (1, 0)]
    (word,) = replay.replay("aaab")
    assert [(m.rank, m.position) for m in word.merges] == [(1, 0), (2, 2)]


def test_a_very_long_word_takes_no_quadratic_time(smollm: tuple[Tokenizer, BPE]) -> None:
    """200,000 symbols of one word are some seconds by the queue; by scanning for the best pair they are hours."""
    tokenizer, replay = smollm
    rng = random.Random(0)
    text = "".join(rng.choices("abcdefghijklmnop", k=50_000))
    assert ids_of(replay.replay(text)) == tokenizer.encode(text).ids


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (models.Unigram([("a", 0.0), ("b", -1.0)], unk_id=0), "Unigram"),
        (models.WordPiece({"[UNK]": 0, "a": 1}), "WordPiece"),
        (models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"), "WordLevel"),
        (models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")], dropout=0.1), "dropout 0.1"),
    ],
)
def test_what_cannot_be_replayed_is_said(model: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BPE(Tokenizer(model))
