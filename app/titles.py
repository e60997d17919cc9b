"""What of a stranger's words may stand as a title on everybody's page."""

from __future__ import annotations

import re
import unicodedata

# Letters, by Unicode, that nobody can see: the fillers of Hangul and the empty cell of Braille.
_BLANKS = dict.fromkeys(map(ord, "\u115f\u1160\u3164\uffa0\u2800"), " ")
# On one letter no language stacks more than a few; many more would stand over the lines above and below.
_MARK = "[\\u0300-\\u036f\\u0483-\\u0489\\u1ab0-\\u1aff\\u1dc0-\\u1dff\\u20d0-\\u20ff\\ufe20-\\ufe2f]"
_PILED_MARKS = re.compile(f"({_MARK}{{4}}){_MARK}+")


# The zero width joiner that makes one picture of two: after one (or the form or the colour that it was given), before
# the next. "\u2194" alone of all that are joined is no symbol but mathematics.
_PICTURE = "\u2194"
_FORMS = frozenset(map(chr, (0xFE0F, *range(0x1F3FB, 0x1F400))))


def _is_picture(char: str) -> bool:
    return char == _PICTURE or unicodedata.category(char) == "So"


def _joins(text: str, index: int) -> bool:
    before, after = text[index - 1 : index], text[index + 1 : index + 2]
    return bool(before and after) and (before in _FORMS or _is_picture(before)) and _is_picture(after)


def _is_seen(text: str, index: int) -> bool:
    char = text[index]
    if char == "\u200d":
        return _joins(text, index)
    return char.isspace() or unicodedata.category(char)[0] != "C"


def one_line(value: object) -> object:
    """Whitespace is a space; a character that cannot be seen, or turns the direction of writing, is none. What then has
    nothing to read in it, marks without a letter say, is no title."""
    if not isinstance(value, str):
        return value
    text = value.translate(_BLANKS)
    seen = "".join(char for index, char in enumerate(text) if _is_seen(text, index))
    title = _PILED_MARKS.sub(r"\1", " ".join(seen.split()))
    return title if any(unicodedata.category(c)[0] in "LNPS" for c in title) else ""
