"""The reference of all config keys in docs/config.md, from the JSON schemas.

    python scripts/config_reference.py [--check]

With --check it only says whether the page is what the schemas give.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ase_bayesel.cli.schema import Config, config_schema
from ase_bayesel.io.json_schema import SHORT

PAGE = Path(__file__).parents[1] / "docs" / "config.md"
ANCHORS: dict[str, str] = {}
"""Of the headings of definitions."""
TITLES = {
    Config.CAMPAIGN: "Campaigns (`bayesel run`)",
    Config.POOL: "Pools (`bayesel pool`)",
    Config.CHECK: "Properties of a model (`bayesel check`)",
}
HEAD = """# All keys of a config

Written by `scripts/config_reference.py` from what validates configs. `bayesel schema` prints the
same as a JSON schema, by which editors complete and check keys: with the YAML extension of VS Code,
save it as `bayesel.schema.json` and write on top of a config

```yaml
# yaml-language-server: $schema=bayesel.schema.json
```

A key without a default has to be given. What a section or kind holds is in the table of its name.
"""


def page() -> str:
    """The page's text."""
    schemas = {config: config_schema(config) for config in TITLES}
    for schema in schemas.values():
        ANCHORS.update({name: _anchor(name, entry) for name, entry in schema["$defs"].items()})
    parts, told = [HEAD], set[str]()
    for config, title in TITLES.items():
        schema = schemas[config]
        parts.append(f"## {title}\n")
        parts += _table(schema)
        for name, section in sorted(schema["$defs"].items()):
            if name not in told and "properties" in section and not name.endswith(".default"):
                told.add(name)
                parts += _section(name, section)
    return "\n".join(parts) + "\n"


def _section(name: str, section: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {_heading(name, section)}\n"
    if section.get("description"):
        yield f"{section['description']}\n"
    yield from _table(section)


def _heading(name: str, section: Mapping[str, Any]) -> str:
    kind = section.get("properties", {}).get("kind", {}).get("const")
    return name if kind is None else f"{name}: `kind: {kind}`"


def _anchor(name: str, section: Mapping[str, Any]) -> str:
    """As GitHub and MkDocs make it of a heading."""
    kept = re.sub(r"[^\w\- ]", "", _heading(name, section).lower())
    return kept.replace(" ", "-")


def _table(section: Mapping[str, Any]) -> Iterator[str]:
    rows = {key: entry for key, entry in section["properties"].items() if key != "kind"}
    if not rows:
        return
    yield "| key | value | default | |\n| --- | --- | --- | --- |"
    for key, entry in rows.items():
        default = f"`{json.dumps(entry['default'])}`" if "default" in entry else ""
        text = entry.get("description", "").replace("|", "\\|").replace("\n", " ")
        yield f"| `{key}` | {_value(entry)} | {default} | {text} |"
    yield ""


def _value(entry: Mapping[str, Any]) -> str:
    """What an entry allows, in words."""
    if "$ref" in entry:
        return _link(entry["$ref"])
    if "anyOf" in entry:
        parts = [_value(part) for part in entry["anyOf"] if not _is_default(part)]
        parts = ["a short form" if part == _value(SHORT) else part for part in parts]
        return ", ".join(dict.fromkeys(part for part in parts if part))
    if "const" in entry:
        return f"`{entry['const']}`"
    if "enum" in entry:
        return ", ".join(f"`{value}`" for value in entry["enum"])
    if entry.get("type") == "array":
        items = _value(entry.get("items", {}))
        return f"list of {items}" if items else "list"
    kind = entry.get("type", "")
    return "/".join(kind) if isinstance(kind, list) else f"{kind}{_limits(entry)}"


def _limits(entry: Mapping[str, Any]) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    told = [f"{sign} {entry[key]:g}" for key, sign in signs.items() if key in entry]
    return f" {', '.join(told)}" if told else ""


def _is_default(entry: Mapping[str, Any]) -> bool:
    return entry.get("$ref", "").endswith(".default")


def _link(reference: str) -> str:
    name = reference.rpartition("/")[2]
    return f"[`{name}`](#{ANCHORS[name]})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    text = page()
    if parser.parse_args().check:
        if PAGE.read_text() != text:
            sys.exit(f"{PAGE.name} is not what the schemas give: run scripts/config_reference.py")
        return
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
