"""The small picture of a run: its slots over time, and under them how sure the model was of each token. Paths for an
inline SVG, by what they mean; the sheet of the page gives them their colours, so it follows the reader's theme."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from app.catalogue import translations
from app.portrait import Portrait, Share

WIDTH, HEIGHT = 480.0, 132.0
MARGIN = 4.0
LANES_MOST = 68.0
"""What the slots may take of the height; the tokens stand in the rest."""
LANE_MOST = 20.0
NARROWEST = 0.6


@dataclass(frozen=True)
class Strip:
    """What the template draws."""

    paths: dict[str, str]
    """SVG path data by role: ``prefill``, ``decode``, ``verify``, ``guest``, ``token``, ``accepted`` (a
    drafted one), ``rails`` (the slots themselves)."""
    words: str
    """The same for who does not see it."""
    box: str = f"0 0 {WIDTH:g} {HEIGHT:g}"
    """The ``viewBox``."""


def strip_of(portrait: Portrait) -> Strip:
    """Of a log that has steps; of one without, empty paths and words that say so."""
    paths = {**_lanes(portrait), **_bars(portrait)}
    return Strip(paths, _words(portrait))


def lane_places(portrait: Portrait) -> tuple[dict[int, float], float]:
    """The top of each slot's lane, and how high one is."""
    slots = portrait.slots
    pitch = min(LANE_MOST / 0.8, LANES_MOST / max(1, len(slots)))
    height = pitch * 0.8
    return {slot: MARGIN + pitch * row for row, slot in enumerate(slots)}, height


def merged(shares: list[Share], closest: float) -> list[Share]:
    """One share where several follow each other closer than can be seen."""
    found: list[Share] = []
    last: dict[int, int] = {}
    for share in shares:
        known = last.get(share.slot)
        before = found[known] if known is not None else None
        if before and known is not None and before.role == share.role and share.start - before.stop < closest:
            found[known] = Share(share.slot, before.start, share.stop, share.role)
        else:
            last[share.slot] = len(found)
            found.append(share)
    return found


def _lanes(portrait: Portrait) -> dict[str, str]:
    scale = WIDTH / portrait.seconds
    places, height = lane_places(portrait)
    drawn: dict[str, list[str]] = defaultdict(list)
    for share in merged(portrait.shares, 0.5 / scale):
        width = max(NARROWEST, (share.stop - share.start) * scale)
        drawn[share.role].append(_box(share.start * scale, places[share.slot], width, height))
    rails = [_box(0.0, top + height / 2 - 0.5, WIDTH, 1.0) for top in places.values()]
    return {"rails": "".join(rails), **{role: "".join(boxes) for role, boxes in drawn.items()}}


def _bars(portrait: Portrait) -> dict[str, str]:
    scale = WIDTH / portrait.seconds
    places, lane = lane_places(portrait)
    top, bottom = max(places.values(), default=0.0) + lane + 14.0, HEIGHT - MARGIN
    width = max(NARROWEST, min(4.0, 0.72 * WIDTH / max(1, len(portrait.tokens))))
    drawn: dict[str, list[str]] = defaultdict(list)
    for number, token in enumerate(portrait.tokens):
        height = max(1.0, (bottom - top) * token.probability)
        # Tokens of one pass come at one time: where there are such, each has a place by its number.
        x = WIDTH * number / len(portrait.tokens) if portrait.num_drafts else token.t * scale
        kind = "accepted" if token.origin == "draft" else "token"
        drawn[kind].append(_box(min(WIDTH - width, x), bottom - height, width, height))
    return {kind: "".join(boxes) for kind, boxes in drawn.items()}


def _box(x: float, y: float, width: float, height: float) -> str:
    return f"M{x:.5g} {y:.4g}h{width:.3g}v{height:.3g}h-{width:.3g}z"


def _words(portrait: Portrait) -> str:
    t = translations()
    if not portrait.shares:
        return t.gettext("A run of which no step was computed.")
    said = [
        t.ngettext("%(num)s slot over %(seconds)s s", "%(num)s slots over %(seconds)s s", len(portrait.slots))
        % {"num": len(portrait.slots), "seconds": f"{portrait.seconds:.3g}"}
    ]
    if portrait.tokens:
        sure = sum(token.probability for token in portrait.tokens) / len(portrait.tokens)
        said.append(
            t.ngettext(
                "%(num)s token, of which the model was %(sure)s %% sure",
                "%(num)s tokens, of which the model was %(sure)s %% sure on average",
                len(portrait.tokens),
            )
            % {"num": len(portrait.tokens), "sure": f"{100 * sure:.0f}"}
        )
    if portrait.num_drafts:
        said.append(
            t.gettext("%(kept)s of %(drafts)s drafted tokens kept")
            % {"kept": portrait.num_accepted, "drafts": portrait.num_drafts}
        )
    return "; ".join(said) + "."
