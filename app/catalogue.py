"""One gettext catalogue for templates, pages and scripts. The msgid is the English text itself."""

from __future__ import annotations

import gettext
import json
import re
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from app.settings import ROOT

LOCALE = ROOT / "locale"
DOMAIN = "openkitchen"

# ``t("...")`` with one literal: what the scripts' ``ui/messages.js`` looks up.
_SCRIPT_CALL = re.compile(r"""\bt\(\s*("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`$]*`)""")


def po_path(language: str) -> Path:
    """Where a language's catalogue stands."""
    return LOCALE / language / "LC_MESSAGES" / f"{DOMAIN}.po"


@cache
def languages() -> tuple[str, ...]:
    """Those that there is a catalogue of."""
    return tuple(sorted(path.parent.parent.name for path in LOCALE.glob(f"*/LC_MESSAGES/{DOMAIN}.po")))


@cache
def translations(language: str = "en") -> gettext.NullTranslations:
    """The catalogue, compiled in memory (no build step, no binary in git). A missing one translates nothing."""
    try:
        with po_path(language).open("rb") as file:
            catalog = read_po(file, locale=language, domain=DOMAIN)
    except FileNotFoundError:
        return gettext.NullTranslations()
    compiled = BytesIO()
    write_mo(compiled, catalog)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


@cache
def script_messages(language: str = "en") -> dict[str, str]:
    """``{msgid: msgstr}`` of what the scripts say."""
    found = translations(language)
    return {message: found.gettext(message) for message, _ in sorted(set(script_strings()))}


def script_strings() -> Iterator[tuple[str, str]]:
    """``(msgid, file)`` of every ``t("...")`` in the scripts."""
    for path in sorted((ROOT / "static" / "js").rglob("*.js")):
        source = path.read_text("utf-8")
        for match in _SCRIPT_CALL.finditer(source):
            yield _literal(match[1]), path.relative_to(ROOT).as_posix()


def _literal(text: str) -> str:
    """The value of a script's string literal."""
    body = text[1:-1]
    if text[0] == "'":
        body = body.replace("\\'", "'").replace('"', '\\"')
    elif text[0] == "`":
        body = body.replace("\\`", "`").replace('"', '\\"').replace("\n", "\\n")
    value = json.loads(f'"{body}"')
    assert isinstance(value, str)
    return value


Message = str | tuple[str, str]
"""A msgid, or one and its plural."""


def python_and_template_strings() -> Iterator[tuple[Message, str]]:
    """``(message, file)`` of every ``_()``, ``gettext()``, ``ngettext()`` and ``{% trans %}`` in app and templates."""
    sources = [(path, "python") for path in sorted((ROOT / "app").rglob("*.py"))]
    sources += [(path, "jinja2.ext:babel_extract") for path in sorted((ROOT / "templates").rglob("*.html"))]
    for path, method in sources:
        with path.open("rb") as file:
            options = {
                "extensions": "jinja2.ext.i18n",
                "newstyle_gettext": "true",
                "trimmed": "true",
                "silent": "false",
            }
            for _line, found, _comments, _context in extract(method, file, options=options):
                name = path.relative_to(ROOT).as_posix()
                if isinstance(found, str):
                    yield found, name
                else:
                    singular, plural = (text for text in found if text)
                    yield (singular, plural), name


def extracted() -> Catalog:
    """Everything that the site says, found in its sources."""
    catalog = Catalog(locale="en", domain=DOMAIN, project="openkitchen", version="1", fuzzy=False)
    catalog.header_comment = "# The words of Open Kitchen. An empty msgstr means: as in the msgid."
    for message, path in [*python_and_template_strings(), *script_strings()]:
        catalog.add(message, locations=[(path, 0)])
    return catalog


def write_catalogue(language: str = "en") -> Path:
    """Bring a language's catalogue up to date with the sources; translations that still fit are kept."""
    path = po_path(language)
    catalog = extracted()
    if path.exists():
        with path.open("rb") as file:
            known = read_po(file, locale=language, domain=DOMAIN)
        for message in catalog:
            old = known.get(message.id) if message.id else None
            if old is not None and old.string and any(old.string):
                message.string = old.string
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_po(file, catalog, width=120, include_lineno=False, sort_output=True, omit_header=True)
    return path


if __name__ == "__main__":
    write_catalogue()
