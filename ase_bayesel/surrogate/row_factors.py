"""The design matrix of a fit, reduced to triangular factors as its rows come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..io.bounded_npz import real
from .triangular import append_rows, merge

BATCH_ROWS = 512
STATE = ("n_rows", "waiting", "triangle")
"""Arrays of `RowFactor.to_arrays`."""


@dataclass
class RowFactor:
    """QR factor ``triangle (D+1, D+1)`` of all [rows, targets] of one kind, and their count.

    The rows carry the weight 1 / sqrt(n_atoms) where the property has one, and
    each column is multiplied by ``column_scale (D,)``.
    """

    column_scale: np.ndarray
    n_rows: int = 0
    _waiting: list[np.ndarray] = field(default_factory=list)
    _triangle: np.ndarray | None = None

    def add(self, rows: np.ndarray, values: np.ndarray, n_rows: int | None = None) -> None:
        """Append rows ``(k, D)`` and their targets ``(k,)``.

        ``n_rows`` is how many observations they stand for, k by default.
        """
        self._waiting.append(np.column_stack([rows * self.column_scale, values]))
        self.n_rows += len(rows) if n_rows is None else n_rows
        if sum(len(block) for block in self._waiting) >= BATCH_ROWS:
            self._flush()

    def absorb(self, other: RowFactor) -> None:
        """Append all rows of another."""
        self.n_rows += other.n_rows
        self._waiting += other._waiting
        if other._triangle is not None:
            self._flush()
            self._triangle = merge(self.triangle, other._triangle)

    @property
    def triangle(self) -> np.ndarray:
        """The factor of all rows so far, ``(D+1, D+1)``."""
        self._flush()
        assert self._triangle is not None
        return self._triangle

    def to_arrays(self) -> dict[str, np.ndarray]:
        """For a file; `from_arrays` goes on from it to the same bits."""
        width = len(self.column_scale) + 1
        waiting = np.concatenate([np.zeros((0, width)), *self._waiting])
        begun = self._triangle is not None
        triangle = self._triangle if begun else np.zeros((0, width))
        assert triangle is not None
        return {"n_rows": np.array(self.n_rows), "waiting": waiting, "triangle": triangle}

    @classmethod
    def from_arrays(cls, column_scale: np.ndarray, arrays: Mapping[str, np.ndarray]) -> RowFactor:
        """What `to_arrays` gave; ValueError or KeyError where it did not."""
        width = len(column_scale) + 1
        waiting, triangle = (real(arrays[name], (None, width)) for name in ("waiting", "triangle"))
        if len(triangle) not in (0, width) or len(waiting) >= BATCH_ROWS:
            raise ValueError("not the factor of so many columns")
        blocks = [waiting] if len(waiting) else []
        begun = triangle if len(triangle) else None
        return cls(column_scale, int(arrays["n_rows"]), blocks, begun)

    def _flush(self) -> None:
        if self._triangle is None:
            width = len(self.column_scale) + 1
            self._triangle = np.zeros((width, width))
        if self._waiting:
            self._triangle = append_rows(self._triangle, np.concatenate(self._waiting))
            self._waiting = []


@dataclass(frozen=True)
class DesignFactors:
    """The whole design matrix, reduced to one triangular factor per property.

    ``labelled`` maps a property to the rows that have targets; ``unlabelled``
    to the rows of structures without any label, which only shape the covariance.
    """

    labelled: Mapping[str, RowFactor]
    unlabelled: Mapping[str, RowFactor]

    def absorb(self, other: DesignFactors) -> None:
        """Append the rows of further structures."""
        for ours, theirs in (
            (self.labelled, other.labelled),
            (self.unlabelled, other.unlabelled),
        ):
            for prop, factor in theirs.items():
                ours[prop].absorb(factor)
