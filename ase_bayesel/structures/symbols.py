"""Chemical symbols, and what may be meant by words that are none."""

from __future__ import annotations

from difflib import get_close_matches

from ase.data import atomic_names, chemical_symbols

SYMBOLS = chemical_symbols[1:]
BY_NAME = {
    **dict(zip(map(str.lower, atomic_names[1:]), SYMBOLS, strict=True)),
    **{"aluminum": "Al", "cesium": "Cs", "sulphur": "S"},
}
"""Symbols by the names of elements in small letters."""


def no_element(word: str) -> str:
    """That a word is no symbol of an element, and which one may be meant."""
    if word.capitalize() in SYMBOLS:
        return f"{word!r} is no element; did you mean {word.capitalize()}?"
    near = get_close_matches(word.lower(), BY_NAME, 1)
    hint = f"; did you mean {BY_NAME[near[0]]}?" if near else ""
    return f"{word!r} is no element{hint}"
