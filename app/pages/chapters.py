"""The chapters of the article: ``templates/chapters/NN_slug.html`` in the order of their numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from app.settings import ROOT

FOLDER = "chapters"
_SECTION = re.compile(r'<section id="([\w-]+)" class="([\w -]+)"')
_KICKER = re.compile(r'<p class="kicker"><b>(\d+)</b> \{\{ _\("([^"]+)"\) \}\}</p>')
_TITLE = re.compile(r'<h2 [^>]*>\{\{ _\("([^"]+)"\) \}\}</h2>')


@dataclass(frozen=True)
class Chapter:
    """One section of the page. A room has a number, a name and a title; the prologue has its own way to begin."""

    slug: str
    template: str
    """As Jinja finds it."""
    is_room: bool
    number: str = ""
    name: str = ""
    """The msgid of what it is called."""
    title: str = ""
    """The msgid of what it says is true."""

    @property
    def scene(self) -> str:
        """Its picture's module."""
        return f"static/js/scenes/{self.slug.replace('-', '_')}.js"


@cache
def chapters() -> tuple[Chapter, ...]:
    """All of them, read from what the templates say of themselves."""
    return tuple(_chapter(path.name) for path in sorted((ROOT / "templates" / FOLDER).glob("*.html")))


def rooms() -> dict[str, Chapter]:
    """The rooms by their slugs, in the order of the page."""
    return {chapter.slug: chapter for chapter in chapters() if chapter.is_room}


def _chapter(file: str) -> Chapter:
    source = (ROOT / "templates" / FOLDER / file).read_text("utf-8")
    section = _SECTION.search(source)
    assert section, f"{file} has no <section id=... class=...>"
    is_room = "room" in section[2].split()
    kicker, title = _KICKER.search(source), _TITLE.search(source)
    number, name = kicker.groups() if kicker else ("", "")
    return Chapter(section[1], f"{FOLDER}/{file}", is_room, number, name, title[1] if title else "")
