"""How a text becomes tokens: the merges of byte-pair encoding, in the order in which they apply.

Byte-pair encoding (Sennrich et al. 2016, https://arxiv.org/abs/1508.07909) starts from the smallest symbols of a word
and joins, again and again, the neighbours whose pair was learnt earliest. The library gives the tokens and forgets the
way there, so the way is walked once more here. Only the loop is ours: a second tokenizer, the same but for its merges,
of which it has none, says where added tokens and words begin, how they are normalised, and what symbols they start
from (bytes, characters, or ``<0xE2>`` for the bytes of a character that is not in the vocabulary).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import msgspec
from tokenizers import Tokenizer as Backend

_MERGED_AWAY = -1


@dataclass(frozen=True, slots=True)
class Merge:
    """Two neighbouring symbols became one. ``left``, ``right`` and ``result`` are token ids."""

    rank: int
    """Place in the tokenizer's list of merges: the lowest rank in a word goes first."""
    position: int
    """Index, among the word's initial symbols, of the one that ``left`` begins with."""
    left: int
    right: int
    result: int


@dataclass(frozen=True, slots=True)
class Word:
    """What is tokenized on its own: a word of the pre-tokenizer, or an added token (one symbol, no merges)."""

    symbols: tuple[int, ...]
    """Ids that it starts from. A word that the tokenizer takes whole (``ignore_merges``) starts as one."""
    merges: tuple[Merge, ...]
    token_ids: tuple[int, ...]
    """Ids that it ends as."""


class BPE:
    """Replays a Hugging Face fast tokenizer, byte-level or SentencePiece-like, whose model is BPE.

    Raises ``ValueError`` for other models (Unigram, WordPiece, WordLevel) and for BPE with dropout, which is random.
    """

    def __init__(self, backend: Backend) -> None:
        described = msgspec.json.decode(backend.to_str())
        model = described["model"]
        if model["type"] != "BPE":
            raise ValueError(
                f"the tokenizer's model is {model['type']}, which does not merge: only BPE can be replayed"
            )
        if model["dropout"]:
            raise ValueError(f"the tokenizer drops merges at random (dropout {model['dropout']}): no replay is its own")
        ids, prefix = model["vocab"], len(model["continuing_subword_prefix"] or "")
        self._merges: dict[tuple[int, int], tuple[int, int]] = {
            (ids[left], ids[right]): (rank, ids[left + right[prefix:]])
            for rank, (left, right) in enumerate(model["merges"])
        }
        model["merges"] = []
        self._splitter: Backend = Backend.from_str(msgspec.json.encode(described).decode())
        forget_words(self._splitter)
        self._splitter.no_truncation()
        self._splitter.no_padding()

    def replay(self, text: str, *, add_special_tokens: bool = True, plain: bool = False) -> list[Word]:
        """The words of ``text``; their ``token_ids`` joined are the tokenizer's own. ``plain`` reads the names of
        special tokens as text."""
        words = self.split(text, add_special_tokens=add_special_tokens, plain=plain)
        known: dict[tuple[int, ...], Word] = {}
        for symbols in words:
            if symbols not in known:
                known[symbols] = self.merge(symbols)
        return [known[symbols] for symbols in words]

    def split(self, text: str, *, add_special_tokens: bool = True, plain: bool = False) -> list[tuple[int, ...]]:
        """The initial symbols of each word of ``text``."""
        self._splitter.encode_special_tokens = plain
        encoding = self._splitter.encode(text, add_special_tokens=add_special_tokens)
        # Tokens that the tokenizer puts around a text (BOS) belong to no word: each is one of its own.
        owners = (~index if word is None else word for index, word in enumerate(encoding.word_ids))
        pairs = groupby(zip(owners, encoding.ids, strict=True), key=lambda pair: pair[0])
        return [tuple(symbol for _, symbol in word) for _, word in pairs]

    def merge(self, symbols: Sequence[int]) -> Word:
        """The merges of one word: lowest rank first, then leftmost. O(n log n) in its symbols, however long."""
        ids, end = list(symbols), len(symbols)
        after = list(range(1, end + 1))  # where the next symbol begins
        before = list(range(-1, end - 1))
        queue: list[tuple[int, int, int, int, int]] = []

        def offer(position: int) -> None:
            """Queue the pair that begins at ``position``, if it is one that merges."""
            right = after[position]
            if right < end and (found := self._merges.get((ids[position], ids[right]))) is not None:
                heapq.heappush(queue, (found[0], position, ids[position], ids[right], found[1]))

        for position in range(end):
            offer(position)
        merges = []
        while queue:
            rank, position, left, right, result = heapq.heappop(queue)
            neighbour = after[position]
            if ids[position] != left or neighbour == end or ids[neighbour] != right:
                continue  # one of the two has merged with another since
            merges.append(Merge(rank, position, left, right, result))
            ids[position], ids[neighbour] = result, _MERGED_AWAY
            after[position] = after[neighbour]
            if after[position] < end:
                before[after[position]] = position
            offer(position)
            if before[position] >= 0:
                offer(before[position])
        return Word(tuple(symbols), tuple(merges), tuple(i for i in ids if i != _MERGED_AWAY))


def forget_words(backend: Backend) -> None:
    """Switch off the cache in which the library keeps the words that it has split before. It is one for all: the
    seconds of tokenizing, which stand in every log, would tell one visitor which rare words another has used."""
    resize = getattr(backend.model, "_resize_cache", None)
    if resize is not None:
        resize(0)
