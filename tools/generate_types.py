"""Write the browser's event types from ``inference/events.py``, or check that they have not drifted.

    python tools/generate_types.py            # writes static/js/types/events.d.ts
    python tools/generate_types.py --check    # exit 1 if that file is not what would be written

Every field is required in the result: a writer always says its defaults, and the page reads what a writer said.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "static" / "js" / "types" / "events.d.ts"
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is out of date")
    text = render()
    if parser.parse_args().check:
        if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
            return 0
        print(f"{TARGET.relative_to(ROOT)} is out of date: run python tools/generate_types.py", file=sys.stderr)
        return 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
