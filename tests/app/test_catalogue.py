"""Every word of the page is in the one catalogue."""

from __future__ import annotations

from babel.messages.pofile import read_po

from app.catalogue import _SCRIPT_CALL, _literal, extracted, po_path, script_messages, script_strings, translations


def test_the_catalogue_holds_what_the_sources_say() -> None:
    with po_path("en").open("rb") as file:
        known = {message.id for message in read_po(file) if message.id}
    said = {message.id for message in extracted() if message.id}
    assert said == known, "run: .venv/bin/python -m app.catalogue"


def test_scripts_get_theirs_as_json() -> None:
    messages = script_messages()
    assert messages
    assert set(messages) == {text for text, _ in script_strings()}
    assert all(messages.values())


def test_literals_of_scripts_are_read_as_scripts_read_them() -> None:
    source = r"""t("a \"b\" é") + t('it\'s "so"', { n: 1 }) + t(`one
two`) + at("not this") + t(variable)"""
    assert [_literal(match[1]) for match in _SCRIPT_CALL.finditer(source)] == ['a "b" é', 'it\'s "so"', "one\ntwo"]


def test_an_empty_translation_is_the_text_itself() -> None:
    assert translations().gettext("Next in line.") == "Next in line."
    one, many = "Done: %(num)s token.", "Done: %(num)s tokens."
    assert [translations().ngettext(one, many, number) for number in (1, 2)] == [one, many]
