"""Options of ``bayesel select`` that are lists with commas."""

from __future__ import annotations

import numpy as np

from ..errors import SelectionError


def parse_words(text: str | None) -> tuple[str, ...] | None:
    """The words of a list with commas; None for None."""
    return None if text is None else tuple(word.strip() for word in text.split(","))


def parse_numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    """The numbers of a list with commas, or a `SelectionError` that begins with ``name``."""
    try:
        found = () if text is None else tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise SelectionError(f"{name}: {error} in {text!r}") from None
    if not np.isfinite(found).all():
        raise SelectionError(f"{name}: expected finite numbers, got {text!r}")
    return None if text is None else found


def parse_named_numbers(name: str, text: str | None) -> dict[str, float] | None:
    """The same for a list of key=number."""
    pairs = [] if text is None else [word.partition("=") for word in text.split(",")]
    keys = [key.strip() for key, *_ in pairs]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise SelectionError(f"{name}: {twice[0]!r} is there twice")
    by_name = {key.strip(): parse_numbers(name, value) for key, _, value in pairs}
    return None if text is None else {key: value[0] for key, value in by_name.items() if value}
