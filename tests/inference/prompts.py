"""Prompts that the equality tests send: short, long, many languages, code, emoji, right to left, odd."""

from __future__ import annotations

from typing import NamedTuple

NEW_TOKENS = 24


class Prompt(NamedTuple):
    text: str
    num_tokens: int | None = None
    """Cut to so many tokens: multiples of the block size make full-prompt hits."""


_STORY = (
    "The kitchen opened at five, before the streets were swept. Marta lit the ovens, one after the other, and set the "
    "stock on the back burner, where it would stand until noon. She had learned from her grandmother that a soup is a "
    "matter of patience: the onions first, slowly, until they are the colour of straw; then the carrots, the celery "
    "and the bay; then the bones, and only then the water, cold. Nobody who hurries the onions, the old woman used to "
    "say, deserves to eat. By six the baker had come with the bread, and by seven the first guests stood there. "
)

PROMPTS = [
    Prompt("a"),
    Prompt("Hello"),
    Prompt("Why is the sky blue?"),
    Prompt("The capital of France is"),
    Prompt("Once upon a time"),
    Prompt("1, 2, 3, 4, 5,"),
    Prompt("A recipe for tomato soup:\n\n1."),
    Prompt("<|im_start|>user\nName three fruits.<|im_end|>\n<|im_start|>assistant\n"),
    Prompt("<|im_start|>user\nWhat is 12 + 30?<|im_end|>\n<|im_start|>assistant\n"),
    Prompt("def fibonacci(n: int) -> int:\n    "),
    Prompt('#include <stdio.h>\n\nint main(void) {\n    printf("'),
    Prompt("SELECT name, COUNT(*) FROM guests WHERE"),
    Prompt('{"name": "soup", "ingredients": ["tomato", '),
    Prompt("Warum ist der Himmel blau? Weil"),
    Prompt("¿Cuál es la capital de España?"),
    Prompt("Il était une fois, dans une petite cuisine,"),
    Prompt("なぜ空は青いのですか？"),
    Prompt("为什么天空是蓝色的？"),
    Prompt("Почему небо голубое?"),
    Prompt("आकाश नीला क्यों है?"),
    Prompt("لماذا السماء زرقاء؟"),
    Prompt("למה השמיים כחולים?"),
    Prompt("🍅🍲👩‍🍳 means"),
    Prompt("Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich 🏖️. C'est-à-dire: 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ﷽ ẞ"),
    Prompt("   \n\n\t  leading and trailing   "),
    Prompt("word " * 200),
    Prompt(_STORY * 5 + "In one sentence, the story is about", None),
    Prompt(_STORY, 16),
    Prompt(_STORY * 2, 160),
    Prompt(_STORY * 6, 608),
]
