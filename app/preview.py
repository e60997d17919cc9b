"""Preview pictures (Open Graph) of a run and a room, 1200 by 630, drawn from the log: the hall of its keys and values,
its slots, its tokens, or its pool, with what it came to. Never a word of the prompt or of the answer."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from app.pages.strip import merged
from app.portrait import Portrait
from app.settings import ROOT
from inference.events import Array

SIZE = (1200, 630)
MARGIN = 64
GROUND, PANEL, LINE, INK, MUTED = "#0a0c10", "#11141b", "#232833", "#ece8df", "#9a9eab"
PREFILL, DECODE, VERIFY, ACCEPTED, GUEST = "#4c9dff", "#f7b93e", "#a88bfa", "#41d38a", "#4d525e"
SHARED = "#2fd0c2"
ROLES = {"prefill": PREFILL, "decode": DECODE, "verify": VERIFY, "guest": GUEST}
MOST_PLACES = 240
"""Of a long run's hall, the last: those are near."""

Font = ImageFont.FreeTypeFont


@dataclass(frozen=True)
class Caption:
    """The words of a preview."""

    kicker: str
    title: str
    figures: str
    source: str
    """Where the numbers come from: measured here, or recorded where and when."""


@cache
def _font(family: str, size: int, weight: int) -> Font:
    font = ImageFont.truetype(str(ROOT / "static" / "fonts" / f"{family}-latin-wght-normal.woff2"), size)
    font.set_variation_by_axes([weight])
    return font


def draw_preview(portrait: Portrait, room: str, caption: Caption) -> bytes:
    """The picture as PNG."""
    image = Image.new("RGB", SIZE, GROUND)
    draw = ImageDraw.Draw(image)
    {"batching": _slots, "phases": _slots, "loop": _tokens, "speculation": _tokens, "paging": _pool}.get(room, _hall)(
        image, draw, portrait
    )
    _words(draw, caption)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=False, compress_level=6)
    return out.getvalue()


# ---- words


def _words(draw: ImageDraw.ImageDraw, caption: Caption) -> None:
    kicker, figures, source = _font("inter", 22, 600), _font("jetbrains-mono", 30, 600), _font("inter", 22, 400)
    draw.text((MARGIN, 56), caption.kicker.upper(), font=kicker, fill=DECODE)
    size = 62
    lines = _wrapped(caption.title, _font("source-serif-4", size, 600), SIZE[0] - 2 * MARGIN)
    while len(lines) > 2 and size > 36:
        size -= 6
        lines = _wrapped(caption.title, _font("source-serif-4", size, 600), SIZE[0] - 2 * MARGIN)
    for number, line in enumerate(lines[:2]):
        more = "…" if number == 1 and len(lines) > 2 else ""
        draw.text((MARGIN, 92 + number * size * 1.12), line + more, font=_font("source-serif-4", size, 600), fill=INK)
    draw.text((MARGIN, 528), caption.figures, font=figures, fill=INK)
    room = SIZE[0] - 2 * MARGIN - source.getlength("Open Kitchen") - 40
    draw.text((MARGIN, 574), _shortened(caption.source, source, room), font=source, fill=MUTED)
    draw.text((SIZE[0] - MARGIN, 574), "Open Kitchen", font=_font("inter", 22, 600), fill=MUTED, anchor="ra")


def _wrapped(text: str, font: Font, width: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_shortened(word, font, width))
    return lines


def _shortened(text: str, font: Font, width: float) -> str:
    short = text
    while short and font.getlength(short + "…" * (short != text)) > width:
        short = short[:-1]
    return short + "…" * (short != text)


# ---- pictures

TOP, BOTTOM = 262, 500
"""Where a flat picture stands, under the title."""


def _slots(image: Image.Image, draw: ImageDraw.ImageDraw, portrait: Portrait) -> None:
    """Who sat where, when."""
    slots = portrait.slots or [0]
    pitch = min(64.0, (BOTTOM - TOP) / len(slots))
    top = TOP + ((BOTTOM - TOP) - pitch * len(slots)) / 2
    scale = (SIZE[0] - 2 * MARGIN) / portrait.seconds
    places = {slot: top + pitch * row for row, slot in enumerate(slots)}
    for y in places.values():
        draw.rectangle((MARGIN, y, SIZE[0] - MARGIN, y + pitch * 0.82), fill=PANEL)
    for share in merged(portrait.shares, 0.5 / scale):
        left = MARGIN + share.start * scale
        right = max(left + 1, MARGIN + share.stop * scale)
        y = places[share.slot]
        draw.rectangle((left, y, right, y + pitch * 0.82), fill=ROLES[share.role])


def _tokens(image: Image.Image, draw: ImageDraw.ImageDraw, portrait: Portrait) -> None:
    """How sure the model was of each token."""
    draw.rectangle((MARGIN, BOTTOM, SIZE[0] - MARGIN, BOTTOM + 1), fill=LINE)
    pitch = min(14.0, (SIZE[0] - 2 * MARGIN) / max(1, len(portrait.tokens)))
    for number, token in enumerate(portrait.tokens):
        left = MARGIN + number * pitch
        top = BOTTOM - max(2.0, (BOTTOM - TOP) * token.probability)
        color = ACCEPTED if token.origin == "draft" else DECODE
        draw.rectangle((left, top, left + max(1.0, pitch * 0.66), BOTTOM), fill=color)


def _pool(image: Image.Image, draw: ImageDraw.ImageDraw, portrait: Portrait) -> None:
    """Blocks over time: held below, kept for their contents above, the rest free. As high as it ever was full."""
    if not portrait.pool or not portrait.num_blocks:
        _slots(image, draw, portrait)
        return
    most = max(held + cached for _, held, cached in portrait.pool) or 1
    scale = (SIZE[0] - 2 * MARGIN) / portrait.seconds
    draw.rectangle((MARGIN, TOP, SIZE[0] - MARGIN, BOTTOM), fill=PANEL)
    ends = [t for t, _, _ in portrait.pool[1:]] + [portrait.seconds]
    for (start, held, cached), stop in zip(portrait.pool, ends, strict=True):
        left, right = MARGIN + start * scale, MARGIN + stop * scale
        if right - left < 0.25:
            continue
        floor = BOTTOM - (BOTTOM - TOP) * held / most
        roof = floor - (BOTTOM - TOP) * cached / most
        draw.rectangle((left, floor, right, BOTTOM), fill=DECODE)
        if cached:
            draw.rectangle((left, roof, right, floor), fill=SHARED)


def _hall(image: Image.Image, draw: ImageDraw.ImageDraw, portrait: Portrait) -> None:
    """Two walls, keys left and values right, one texel a place and head: what the run left behind. The newest is near.
    A log without them shows its slots."""
    if not portrait.keys:
        _slots(image, draw, portrait)
        return
    num_prompt = portrait.summary.totals.prompt_tokens
    left, right = _wall(portrait.keys, num_prompt), _wall(portrait.values, num_prompt)
    near, far = 144, 22
    middle = 386
    # Corners of each wall: far top, near top, near bottom, far bottom.
    depth = 470
    _hang(image, left, [(depth, middle - far), (0, middle - near), (0, middle + near), (depth, middle + far)])
    width = SIZE[0]
    _hang(
        image,
        right,
        [(width - depth, middle - far), (width, middle - near), (width, middle + near), (width - depth, middle + far)],
    )


def _wall(parts: Sequence[tuple[int, Array]], num_prompt: int) -> Image.Image:
    """A texel for each place and head, as bright as its norm among those of its row; dim where it is old."""
    last = max(start + array.shape[2] for start, array in parts)
    norms = np.zeros((parts[0][1].shape[0] * parts[0][1].shape[1], last), np.float32)
    for start, array in parts:
        count = array.shape[2]
        norms[:, start : start + count] = _numbers(array).reshape(-1, count)
    norms = norms[:, -MOST_PLACES:]
    low, high = np.percentile(norms, (2, 98), axis=1, keepdims=True)
    light = np.clip((norms - low) / np.maximum(high - low, 1e-9), 0.0, 1.0)
    places = np.arange(last - norms.shape[1], last)
    light = (0.12 + 0.88 * light) * np.linspace(0.35, 1.0, len(places))
    full = np.where((places < num_prompt)[:, None], _rgb(PREFILL), _rgb(DECODE))
    pixels = _rgb(GROUND) + (full - _rgb(GROUND)) * light[:, :, None]
    return Image.fromarray(pixels.round().astype(np.uint8), "RGB")


def _rgb(color: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(ImageColor.getrgb(color), float)


def _numbers(array: Array) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.frombuffer(base64.b64decode(array.data), array.dtype).astype(np.float32)


def _hang(image: Image.Image, wall: Image.Image, corners: list[tuple[int, int]]) -> None:
    """The wall in perspective: its first column stands at the first corner and the last, its top at the first two."""
    large = wall.resize((wall.width * 4, wall.height * 4), Image.Resampling.NEAREST)
    width, height = large.size
    source = [(0, 0), (width, 0), (width, height), (0, height)]
    coefficients = _perspective(corners, source)
    hung = large.transform(SIZE, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR)
    mask = Image.new("L", SIZE, 0)
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    image.paste(hung, (0, 0), mask)


def _perspective(target: list[tuple[int, int]], source: list[tuple[int, int]]) -> list[float]:
    """The eight numbers that take each corner of ``target`` to that of ``source``."""
    equations, values = [], []
    for (x, y), (u, v) in zip(target, source, strict=True):
        equations += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return [float(value) for value in np.linalg.solve(np.array(equations, float), np.array(values, float))]
