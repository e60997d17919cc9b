"""What stands on the gallery's shelf: each recording, with what makes it interesting and where it shows best."""

from __future__ import annotations

from dataclasses import dataclass

from app.catalogue import translations
from app.recipes import DEFAULT_RUN


@dataclass(frozen=True)
class Shown:
    """A recording in words."""

    key: str
    """Of its recipe; empty for the run that the others are takes of."""
    title: str
    says: str
    room: str = ""
    """Slug of the room where it shows best; empty while no room shows it."""
    step: int = 1
    """Of the room's prose, from 1."""

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{DEFAULT_RUN}.{self.key}" if self.key else DEFAULT_RUN

    @property
    def link(self) -> str:
        """Relative to the site."""
        place = f"?step={self.step}" if self.step > 1 else ""
        return f"./#{self.room}{place}" if self.room else ""


def shown() -> tuple[Shown, ...]:
    """In the order of the rooms."""
    _ = translations().gettext
    return (
        Shown(
            "",
            _("One prompt, one answer"),
            _(
                "The run that the page opens with: the prompt is read in one sweep, then every token costs a step of "
                "its own."
            ),
            "prologue",
            1,
        ),
        Shown(
            "fork",
            _("Another word"),
            _(
                "The same prompt with one word of the answer chosen otherwise, at a place where the model was torn; "
                "all after it is another text."
            ),
            "loop",
            6,
        ),
        Shown(
            "logits",
            _("The whole vocabulary"),
            _(
                "Asked for the score of every token that the model knows: where it was sure, where it was torn, and "
                "before its first word."
            ),
            "loop",
            1,
        ),
        Shown(
            "attention",
            _("Where it looked"),
            _("Every head of every layer tells where it looks, at places spread over the answer."),
            "attention",
            1,
        ),
        Shown(
            "gaze",
            _("A few heads, word by word"),
            _("A dozen heads followed through the beginning of the answer, at every token."),
            "attention",
            1,
        ),
        Shown(
            "again",
            _("The same prompt twice"),
            _("Asked a second time, the prompt's full pages are found computed, and only its end is read anew."),
            "",
            1,
        ),
        Shown(
            "rush-hour",
            _("Rush hour"),
            _("Six neighbours came first and there are two seats: the run waits its turn in the line."),
            "",
            1,
        ),
        Shown(
            "static",
            _("Batches that wait for their slowest"),
            _("Static batching: a seat that is done early stays empty until the whole batch is."),
            "batching",
            2,
        ),
        Shown(
            "continuous",
            _("Seats filled as they fall free"),
            _("The same guests under continuous batching: fewer steps, fewer empty seats."),
            "batching",
            2,
        ),
        Shown(
            "unchunked",
            _("A long prompt, all at once"),
            _(
                "While the answer is written, a neighbour's long prompt is read in one step, and the answer stands "
                "still."
            ),
            "phases",
            6,
        ),
        Shown(
            "chunked",
            _("A long prompt in pieces"),
            _("The same neighbour, read a piece a step: the answer goes on, a token with each piece."),
            "phases",
            6,
        ),
        Shown(
            "batch",
            _("Sixteen down to one"),
            _("Guests leave one after another, so that each batch size has its own measured pace."),
            "batching",
            4,
        ),
        Shown(
            "slab",
            _("A slab for every guest"),
            _("Each guest reserves one unbroken piece for the longest answer there may be; most of it stays empty."),
            "paging",
            2,
        ),
        Shown(
            "paged",
            _("The same memory in pages"),
            _("The same guests and the same pool in pages: more sit together, and only last pages have empty places."),
            "paging",
            3,
        ),
        Shown(
            "samples",
            _("Three answers to one prompt"),
            _("Three samples share the prompt's pages until each writes its own: copy-on-write."),
            "paging",
            4,
        ),
        Shown(
            "starved",
            _("A pool too small"),
            _("Pages are evicted, and the run itself is put back in line and computed again."),
            "paging",
            5,
        ),
        Shown(
            "standard",
            _("Without a drafter"),
            _("The lane that speculation races against: one step, one token."),
            "speculation",
            4,
        ),
        Shown(
            "speculative",
            _("A drafter that fits"),
            _(
                "A small head guesses four tokens ahead; the model checks them in one pass and keeps what it would "
                "have said itself."
            ),
            "speculation",
            4,
        ),
        Shown(
            "speculative-sampled",
            _("Guesses and coins"),
            _(
                "Speculation at a temperature: a coin decides on each guess, and the answer's distribution stays the "
                "model's own."
            ),
            "speculation",
            2,
        ),
        Shown(
            "look-up",
            _("Guessing by looking back"),
            _("No drafter at all: the text itself is searched for how it went on last time."),
            "speculation",
            4,
        ),
        Shown(
            "mismatched",
            _("A drafter that does not fit"),
            _("Guesses from another head: more work, fewer of them kept."),
            "speculation",
            4,
        ),
        Shown(
            "standard-fp32",
            _("Without a drafter, in fp32"),
            _("The exact text that speculation has to give, in full precision."),
            "speculation",
            5,
        ),
        Shown(
            "speculative-fp32",
            _("With a drafter, in fp32"),
            _("Token for token the text of the lane without a drafter: speculation loses nothing."),
            "speculation",
            5,
        ),
        Shown(
            "int8",
            _("Weights in eight bits"),
            _("The same prompt with the weights in int8: fewer bytes to read for every token."),
            "",
            1,
        ),
        Shown(
            "int4",
            _("Weights in four bits"),
            _("The weights rounded to four bits."),
            "",
            1,
        ),
        Shown(
            "int4-awq",
            _("Four bits, chosen with care"),
            _("Four bits again, scaled by what the activations need: activation-aware quantization."),
            "",
            1,
        ),
        Shown(
            "kv-int8",
            _("Memory in eight bits"),
            _("The weights as they are, keys and values in int8."),
            "",
            1,
        ),
        Shown(
            "sharding",
            _("Three processes, one model"),
            _("Tensor parallelism: every layer ends twice with the ranks adding up what each has."),
            "",
            1,
        ),
    )
