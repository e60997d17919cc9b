"""Text to token ids and back, over a Hugging Face (fast) tokenizer.

What it adds: whose words a token of a templated prompt is (``encode_chat``), control tokens that a reader types stay
plain text, and a detokenizer that says what each token adds without ever splitting a character.
"""

from __future__ import annotations

import codecs
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from inference.bpe import BPE, forget_words
from inference.events import BPEMerges, BPEWord

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerBase

_SENTINEL = f"reader-{secrets.token_hex(16)}"
"""Stands where the reader's text goes while the template around it is looked at. Nobody can type it."""


MAX_SYMBOLS = 4096
"""Initial symbols, of different words, up to which a prompt's merges are told: some 2,000 tokens of English."""


@dataclass(frozen=True)
class Part:
    """A text that is encoded by itself."""

    text: str
    add_special_tokens: bool
    """Whether the tokenizer puts its BOS before it."""
    plain: bool = False
    """Whether the names of control tokens are read as text."""


@dataclass(frozen=True)
class Templated:
    """A prompt in its chat template, as ids."""

    token_ids: list[int]
    own: list[tuple[int, int]]
    """Half-open ranges of tokens that hold the reader's own text."""
    num_public_tokens: int
    """Tokens before the reader's text: the same for everybody."""
    parts: list[Part]
    """The texts whose tokens, joined, are ``token_ids``."""


class Tokenizer:
    """The tokenizer of a model. ``hf`` is the Hugging Face tokenizer itself."""

    def __init__(self, hf: PreTrainedTokenizerBase) -> None:
        if not getattr(hf, "is_fast", False):
            raise ValueError(f"{type(hf).__name__} is not a fast tokenizer: without offsets, no token knows its text")
        self.hf: Any = hf
        self._backend = self.hf.backend_tokenizer
        forget_words(self._backend)
        self._special = {i for i, token in self._backend.get_added_tokens_decoder().items() if token.special}
        self._decoder_type = _decoder_type(self._backend)
        first = self.hf("x")["input_ids"][0]
        self._added_bos: int | None = first if first == self.hf.bos_token_id else None
        self._bytes_of: list[bytes | None] = [None] * self.vocab_size

    # ---- facts

    @property
    def vocab_size(self) -> int:
        """Ids the tokenizer knows, added ones included."""
        return len(self.hf)

    @property
    def eos_token_id(self) -> int | None:
        """The id that ends a turn, if the tokenizer names one."""
        token_id: int | None = self.hf.eos_token_id
        return token_id

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids of control tokens, which are not text."""
        return frozenset(self._special)

    @property
    def has_chat_template(self) -> bool:
        """False for a plain language model: its prompts go in as they are."""
        return bool(self.hf.chat_template)

    # ---- to ids

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text`` as it is, with a BOS where the model wants one and never two.

        Raises ``ValueError`` for text with lone surrogates, which is not Unicode.
        """
        ids: list[int] = self.hf(check_text(text))["input_ids"]
        doubled = self._added_bos is not None and ids[:2] == [self._added_bos] * 2
        return ids[1:] if doubled else ids

    def encode_chat(self, prompt: str) -> Templated:
        """``prompt`` as the one user message in the chat template (plain where there is none), ready for an answer.

        The ids are those of the whole templated text. Only where the reader typed the name of a control token are
        the parts encoded one by one, so that what is typed is read as text and controls nothing.
        Raises ``ValueError`` for text with lone surrogates.
        """
        before, own, after = self._render(check_text(prompt))
        start, stop = len(before), len(before) + len(own)
        parts = [Part(before + own + after, add_special_tokens=not self.has_chat_template)]
        ids, spans = self._encode_with_spans(parts[0])
        if any(i in self._special for i, span in zip(ids, spans, strict=True) if _overlaps(span, start, stop)):
            ids, spans, parts = self._encode_in_parts(before, own, after)
        mine = [index for index, span in enumerate(spans) if _overlaps(span, start, stop)]
        if not mine:
            return Templated(ids, [], sum(1 for _, end in spans if end <= start), parts)
        return Templated(ids, [(mine[0], mine[-1] + 1)], mine[0], parts)

    def _render(self, prompt: str) -> tuple[str, str, str]:
        """The template's text before the reader's, the reader's as the template leaves it, and the text after."""
        if not self.has_chat_template:
            return "", prompt, ""
        before, found, after = self._template(_SENTINEL).partition(_SENTINEL)
        if not found:
            raise ValueError("the model's chat template leaves the user's message out")
        text = self._template(prompt)
        whole = len(text) >= len(before) + len(after) and text.startswith(before) and text.endswith(after)
        return before, text[len(before) : len(text) - len(after)] if whole else prompt, after

    def _template(self, content: str) -> str:
        message = [{"role": "user", "content": content}]
        text: str = self.hf.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        return text

    def _encode_in_parts(
        self, before: str, own: str, after: str
    ) -> tuple[list[int], list[tuple[int, int]], list[Part]]:
        """As one text, but read as plain from the last control token before the reader's words to the first after.

        Control tokens cut a text before anything is merged, so the parts meet where the whole would be cut anyway.
        """
        add = not self.has_chat_template
        ids, spans = self._encode_with_spans(Part(before, add))
        head = max((end for i, (_, end) in zip(ids, spans, strict=True) if i in self._special), default=0)
        ids, spans = self._encode_with_spans(Part(after, False))
        starts = (start for i, (start, _) in zip(ids, spans, strict=True) if i in self._special)
        tail = min(starts, default=len(after))
        parts = [
            Part(before[:head], add),
            Part(before[head:] + own + after[:tail], False, plain=True),
            Part(after[tail:], False),
        ]
        ids, spans, offset = [], [], 0
        for part in parts:
            its_ids, its_spans = self._encode_with_spans(part)
            ids += its_ids
            spans += [(start + offset, end + offset) for start, end in its_spans]
            offset += len(part.text)
        return ids, spans, parts

    def _encode_with_spans(self, part: Part) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of ``part`` and the characters of each.

        Spans grow monotonically and leave no gap: the tokenizer reports the trimmed ones (without a leading space),
        so the space is given back to the token that holds it.
        """
        encoded = self.hf(
            part.text,
            add_special_tokens=part.add_special_tokens,
            return_offsets_mapping=True,
            split_special_tokens=part.plain,
        )
        spans = []
        reached = 0
        for start, end in encoded["offset_mapping"]:
            spans.append((min(start, reached), end))
            reached = max(reached, end)
        return encoded["input_ids"], spans

    # ---- how they came about

    @cached_property
    def bpe(self) -> BPE | None:
        """The replay of this tokenizer's merges; None where it has none. Made once, a fraction of a second."""
        try:
            return BPE(self._backend)
        except ValueError:
            return None

    def merges(self, parts: Sequence[Part], token_ids: Sequence[int]) -> BPEMerges | None:
        """How ``parts`` became ``token_ids``, until their different words have ``MAX_SYMBOLS`` initial symbols.

        None where the tokenizer's model does not merge, or where ``token_ids`` are not those of ``parts``.
        """
        bpe = self.bpe
        if bpe is None:
            return None
        split = [
            symbols
            for part in parts
            for symbols in bpe.split(part.text, add_special_tokens=part.add_special_tokens, plain=part.plain)
        ]
        if split[:2] == [(self._added_bos,)] * 2 and list(token_ids[:2]) != [self._added_bos] * 2:
            del split[0]  # ``encode`` took the doubled BOS away
        told = BPEMerges(words=[], order=[], num_tokens=0)
        places: dict[tuple[int, ...], int] = {}
        tokens: list[tuple[int, ...]] = []
        room = MAX_SYMBOLS
        for symbols in split:
            if symbols not in places:
                room -= len(symbols)
                if room < 0:
                    break
                word = bpe.merge(symbols)
                places[symbols] = len(tokens)
                tokens.append(word.token_ids)
                merges = [(merge.rank, merge.position) for merge in word.merges]
                told.words.append(BPEWord(symbols=[self.symbol_text(i) for i in symbols], merges=merges))
            told.order.append(places[symbols])
        ids = [token for place in told.order for token in tokens[place]]
        told.num_tokens = len(ids)
        return told if list(token_ids[: len(ids)]) == ids and (room < 0 or len(ids) == len(token_ids)) else None

    # ---- to text

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """The text of ``ids``; bytes that are no character become U+FFFD."""
        text: str = self._backend.decode(list(ids), skip_special_tokens=skip_special_tokens)
        return text

    def is_special(self, token_id: int) -> bool:
        """Whether it is a control token."""
        return token_id in self._special

    def token_text(self, token_id: int) -> str:
        """One token alone: special tokens by their name, half a character as U+FFFD."""
        if self._decoder_type == "ByteLevel":
            return self.token_bytes(token_id).decode("utf-8", "replace")
        return self.text_after([token_id])

    def symbol_text(self, token_id: int) -> str:
        """As ``token_text``, but bytes that are no character by themselves are spelled ``<0xE2>``."""
        text = self.texts[token_id]
        if "\ufffd" not in text:
            return text
        if self._decoder_type == "ByteLevel":
            raw = self.token_bytes(token_id)
            return text if text.encode() == raw else "".join(f"<0x{byte:02X}>" for byte in raw)
        token: str = self._backend.id_to_token(token_id)
        return token if _is_byte(token) else text

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The characters that each token adds, control tokens by their name. Joined they are the whole text.

        A token that ends inside a character has an empty piece; the one that completes it carries the character.
        """
        detokenizer = IncrementalDetokenizer(self, skip_special_tokens=False)
        pieces = [detokenizer.push(token_id) for token_id in ids]
        if pieces:
            pieces[-1] += detokenizer.flush()
        return pieces

    @cached_property
    def texts(self) -> list[str]:
        """``token_text`` of every id. Made once, a fraction of a second: who names candidates needs many a step."""
        return [self.token_text(token_id) for token_id in range(self.vocab_size)]

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of a token of a byte-level tokenizer; none for an id that it does not know."""
        if not 0 <= token_id < len(self._bytes_of):
            return b""
        known = self._bytes_of[token_id]
        if known is None:
            token = self._backend.id_to_token(token_id) or ""
            table = _byte_alphabet()
            known = bytes(table[c] for c in token) if all(c in table for c in token) else token.encode()
            self._bytes_of[token_id] = known
        return known

    def text_after(self, ids: Sequence[int]) -> str:
        """What ``ids`` add in the middle of a text (at its start, a decoder may swallow a space)."""
        tokens = [token for i in ids if (token := self._backend.id_to_token(i)) is not None]
        if self._backend.decoder is None:
            return "".join(f" {token}" for token in tokens)
        text: str = self._backend.decoder.decode(["x", *tokens])
        return text[1:]


class IncrementalDetokenizer:
    """Says what each token adds to a text. Constant work a token; what it says is never taken back.

    All that ``push`` and ``flush`` returned, joined, equals ``tokenizer.decode`` of the same ids. ``prompt_ids`` are
    those before: when there are any, the text does not start here, so a leading space stays.
    """

    def __init__(
        self, tokenizer: Tokenizer, prompt_ids: Sequence[int] = (), *, skip_special_tokens: bool = True
    ) -> None:
        self._tokenizer = tokenizer
        self._skip = tokenizer.special_ids if skip_special_tokens else frozenset[int]()
        self._byte_level = tokenizer._decoder_type == "ByteLevel"
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._at_start = not prompt_ids
        self._run: list[int] = []
        """Byte tokens (``<0xE2>``) that wait for the rest of their characters (tokenizers that fall back to bytes)."""

    def push(self, token_id: int) -> str:
        """The characters that ``token_id`` completes, maybe none."""
        if token_id in self._skip:
            return ""
        if self._byte_level:
            return self._utf8.decode(self._tokenizer.token_bytes(token_id))
        token = self._tokenizer._backend.id_to_token(token_id)
        if token is None:
            return ""
        if _is_byte(token):
            self._run.append(token_id)
            return ""
        return self.flush() + self._say([token_id])

    def flush(self) -> str:
        """What is left when no token follows: an unfinished character as U+FFFD."""
        if self._byte_level:
            return self._utf8.decode(b"", final=True)
        run, self._run = self._run, []
        return self._say(run) if run else ""

    def _say(self, ids: list[int]) -> str:
        if self._at_start:
            self._at_start = False
            return self._tokenizer.decode(ids, skip_special_tokens=False)
        return self._tokenizer.text_after(ids)


def check_text(text: str) -> str:
    """``text`` itself. Raises ``ValueError`` when it holds a lone surrogate."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"the text is not valid Unicode: a lone surrogate at character {error.start}") from None
    return text


def _overlaps(span: tuple[int, int], start: int, stop: int) -> bool:
    """Whether a token's characters reach into ``start <= c < stop`` (the later bytes of a character have none)."""
    return start < span[1] and (span[0] < stop or span == (stop, stop)) and start < stop


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _decoder_type(backend: Backend) -> str:
    """``ByteLevel``, ``Sequence``, ``Metaspace`` ... or nothing."""
    if backend.decoder is None:
        return ""
    return str(json.loads(backend.decoder.__getstate__())["type"])


@lru_cache(maxsize=1)
def _byte_alphabet() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for (GPT-2's table): printable Latin-1 for
    itself, the other 68 bytes in order from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + n): b for n, b in enumerate(others)}
