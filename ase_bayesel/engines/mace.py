"""A MACE model as the teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from ase.calculators.calculator import Calculator
from ase.symbols import chemical_symbols

from ..errors import DescriptorError
from .base import content_hash
from .calculators import CalculatorEngine


@dataclass(frozen=True)
class MACEEngine(CalculatorEngine):
    """A MACE model, loaded once in each process.

    Attributes
    ----------
    model
        A file, or a name such as ``"mace_mp:medium"``.
    head, dtype, device
        As in `MACEDescriptor`.
    """

    kind: ClassVar[str] = "mace"
    package: ClassVar[str] = "mace-torch"
    model: str = ""
    head: str | None = None
    dtype: str = "float64"
    device: str = "cpu"

    @property
    def name(self) -> str:
        return self.model

    def identity(self, k: int = 0) -> dict[str, Any]:
        from ..descriptors.mace.loading import locate

        return {
            **super().identity(k),
            "model": content_hash(locate(self.model)),
            "head": self.head,
            "dtype": self.dtype,
        }

    def missing(self, elements: Sequence[str]) -> list[str]:
        from ..descriptors.mace.loading import locate

        try:
            known = self._calculator(locate(self.model)).z_table.zs
        except DescriptorError as error:
            return [f"{error} (labelling.model)"]
        unknown = [s for s in elements if chemical_symbols.index(s) not in known]
        return [f"{s}: is not known to {self.model} (labelling.model)" for s in unknown]

    def make(self, parameters: Mapping[str, Any]) -> Calculator:
        from ..descriptors.mace.loading import locate

        return self._calculator(locate(self.model))

    def _calculator(self, path: Path) -> Calculator:
        stamp = path.stat().st_mtime_ns
        return _loaded(path, stamp, self.head, self.dtype, self.device)


@lru_cache(maxsize=1)
def _loaded(path: Path, stamp: int, head: str | None, dtype: str, device: str) -> Calculator:
    from ..descriptors.mace.loading import mace_calculator

    return mace_calculator(path, head, dtype, device)
