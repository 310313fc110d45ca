"""YAML that is read as plain values: no key twice, no growth beyond bounds by its aliases."""

from __future__ import annotations

from typing import Any

import yaml

MERGE = "tag:yaml.org,2002:merge"
MAX_VALUES = 100_000
"""Values of a document, each alias counted as often as it is used."""
MAX_DEPTH = 50
"""Lists and mappings inside one another, in a document that `refuse_hostile` lets pass."""
MAX_SCALAR = 1000
"""Characters of one value there: long integers take time that grows with their square."""


class _Loader(yaml.SafeLoader):
    """Safe loading, in which merge keys copy a bounded number of entries."""

    merged = 0

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse a key that is there twice: PyYAML would keep the last one and say nothing."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name in seen and key.tag != MERGE:
                line = key.start_mark.line + 1
                raise ValueError(f"line {line}: the key {key.value!r} is there twice")
            if name is not None:
                seen.add(name)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        self.merged += len(node.value)
        _bound(self.merged)


def parse_yaml(text: str) -> Any:
    """The plain values of a document.

    Raises
    ------
    ValueError
        If it holds more than `MAX_VALUES`, or a mapping has a key twice.
    Exception
        Whatever PyYAML raises: its own errors, and others on values that a tag does not fit.
    """
    document = yaml.load(text, _Loader)
    waiting, count = [document], 1
    while waiting:
        value = waiting.pop()
        inner = list(value.values()) if isinstance(value, dict) else value
        if isinstance(inner, list | tuple | set):
            count += len(inner)
            _bound(count)
            waiting += inner
    return document


def refuse_hostile(text: str) -> None:
    """Refuse a document with aliases, deep nesting or endless values, before it is built.

    For large files of numbers that have neither. The parser in C follows the nesting by recursion
    and would end the process.

    Raises
    ------
    ValueError
        Naming the line.
    yaml.YAMLError
        If it is no YAML.
    """
    depth = 0
    for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        line = 0 if event.start_mark is None else event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"line {line}: an alias, *{event.anchor}; write its value out")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_SCALAR:
            raise ValueError(f"line {line}: a value of more than {MAX_SCALAR} characters")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"line {line}: more than {MAX_DEPTH} lists inside one another")


def _bound(count: int) -> None:
    if count > MAX_VALUES:
        raise ValueError(f"holds more than {MAX_VALUES} values, aliases written out")
