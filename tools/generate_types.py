"""Write the browser's event types from ``inference/events.py``, or check that they have not drifted.

    python tools/generate_types.py            # writes static/js/types/events.d.ts and fields.js
    python tools/generate_types.py --check    # exit 1 if these files are not what would be written

``events.d.ts`` is for who writes the page: every field is required there, for a writer always says its defaults.
``fields.js`` is for the page itself, which checks a log from a file by it before it trusts a field.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TYPES = ROOT / "static" / "js" / "types"
PRIMITIVES = {"integer": "number", "number": "number", "string": "string", "boolean": "boolean", "null": "null"}

sys.path.insert(0, str(ROOT))


def type_of(schema: dict[str, Any]) -> str:
    """The TypeScript spelling of one JSON Schema node. Raises ``ValueError`` on a form that no event has used yet."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "enum" in schema:
        return " | ".join(f'"{value}"' for value in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(type_of(option) for option in schema["anyOf"])
    if schema.get("type") == "array":
        if "prefixItems" in schema:
            return "[" + ", ".join(type_of(item) for item in schema["prefixItems"]) + "]"
        item = type_of(schema["items"])
        return f"({item})[]" if " " in item and not item.startswith("[") else f"{item}[]"
    if schema.get("type") == "object":
        return "Record<string, any>"
    if schema.get("type") in PRIMITIVES:
        return PRIMITIVES[schema["type"]]
    raise ValueError(f"no TypeScript for {schema!r}")


def comment(text: str) -> list[str]:
    """A JSDoc block of ``text``, one line of it a line."""
    lines = [line.strip().replace("``", "`").replace("*/", "* /") for line in text.strip().splitlines()]
    if len(lines) == 1:
        return [f"/** {lines[0]} */"]
    return ["/**", *(f" * {line}".rstrip() for line in lines), " */"]


def interface(name: str, schema: dict[str, Any]) -> str:
    """One struct as an interface."""
    lines = comment(schema["description"]) if "description" in schema else []
    lines.append(f"export interface {name} {{")
    lines += [f"  {field}: {type_of(node)};" for field, node in schema["properties"].items()]
    return "\n".join([*lines, "}"])


def render() -> str:
    """The whole declaration file, in the order in which the structs are declared."""
    from inference.events import SCHEMA_VERSION, json_schema

    schema = json_schema()
    definitions: dict[str, dict[str, Any]] = schema["$defs"]
    mapping: dict[str, str] = schema["discriminator"]["mapping"]
    parts = [
        f"// Written by tools/generate_types.py from inference/events.py, schema version {SCHEMA_VERSION}.",
        *(interface(name, node) for name, node in definitions.items()),
        "/** Any event of a log, told apart by `type`. */\nexport type AnyEvent =\n"
        + "\n".join(f"  | {ref.rsplit('/', 1)[-1]}" for ref in mapping.values())
        + ";",
        "/** The event of each `type`. */\nexport interface EventByType {\n"
        + "\n".join(f'  "{tag}": {ref.rsplit("/", 1)[-1]};' for tag, ref in mapping.items())
        + "\n}",
    ]
    return "\n\n".join(parts) + "\n"


WORDS = {"integer": "int", "number": "num", "string": "str", "boolean": "bool", "object": "{any}"}


def word_of(schema: dict[str, Any]) -> str:
    """The type of a field in one word without a space, as the head of ``fields.js`` explains them."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "enum" in schema:
        return "|".join(str(value) for value in schema["enum"])
    if "anyOf" in schema:
        options = [word_of(option) for option in schema["anyOf"] if option.get("type") != "null"]
        if len(options) != 1 or len(schema["anyOf"]) != 2:
            raise ValueError(f"no word for {schema!r}")
        return f"{options[0]}?"
    if "prefixItems" in schema:
        return "(" + ",".join(word_of(item) for item in schema["prefixItems"]) + ")"
    if schema.get("type") == "array":
        return f"{word_of(schema['items'])}[]"
    if schema.get("type") == "object" and schema.get("additionalProperties"):
        return "{" + word_of(schema["additionalProperties"]) + "}"
    if schema.get("type") in WORDS:
        return WORDS[schema["type"]]
    raise ValueError(f"no word for {schema!r}")


def fields_of(schema: dict[str, Any]) -> str:
    """The fields of one struct, but for the envelope that all events share."""
    words = []
    for field, node in schema["properties"].items():
        if field in ("type", "seq", "t"):
            continue
        needed = field in schema.get("required", [])
        default = "" if needed else "=" + json.dumps(node["default"], separators=(",", ":"))
        words.append(f"{field}:{word_of(node)}{default}")
    return " ".join(words)


FIELDS_HEAD = """// Written by tools/generate_types.py from inference/events.py, schema version {version}.
//
// The fields of every event, for a reader who does not trust its writer: NAME:TYPE, and `=` what holds where it is left
// out. Types: int; num (finite); str; bool; a|b, one of these words; T?, or null; T[]; (A,B), a pair; {{T}}, values by
// any names; another struct of the table by its name. `SamplingParams` is what `params` of log.opened holds.

/** @type {{Record<string, string>}} */
export const FIELDS = {{
"""


def render_fields() -> str:
    """The whole table: events by their tags, what they consist of by its name."""
    import msgspec

    from inference.events import SCHEMA_VERSION, json_schema
    from inference.sequence import SamplingParams

    schema = json_schema()
    tags = {ref.rsplit("/", 1)[-1]: tag for tag, ref in schema["discriminator"]["mapping"].items()}
    _, asked = msgspec.json.schema_components([SamplingParams])
    structs = {tags.get(name, name): node for name, node in (schema["$defs"] | asked).items()}
    lines = [f"  {json.dumps(name)}: {json.dumps(fields_of(node))},\n" for name, node in structs.items()]
    return FIELDS_HEAD.format(version=SCHEMA_VERSION) + "".join(lines) + "};\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    wanted = {TYPES / "events.d.ts": render(), TYPES / "fields.js": render_fields()}
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if parser.parse_args().check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run python tools/generate_types.py", file=sys.stderr)
        return int(bool(stale))
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
