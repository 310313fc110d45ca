"""YAML that is read as plain values, and cannot grow beyond bounds by its aliases."""

from __future__ import annotations

from typing import Any

import yaml

MAX_VALUES = 100_000
"""Values of a document, each alias counted as often as it is used."""


class _Loader(yaml.SafeLoader):
    """Safe loading, in which merge keys copy a bounded number of entries."""

    merged = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        self.merged += len(node.value)
        _bound(self.merged)


def parse_yaml(text: str) -> Any:
    """The plain values of a document.

    Raises
    ------
    ValueError
        If it holds more than `MAX_VALUES`.
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


def _bound(count: int) -> None:
    if count > MAX_VALUES:
        raise ValueError(f"holds more than {MAX_VALUES} values, aliases written out")
