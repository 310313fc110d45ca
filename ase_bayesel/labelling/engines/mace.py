"""A MACE model as the teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers

from ...errors import DescriptorError
from ...io.fields import HIDDEN, REQUIRED, ModelFile
from ...io.hashing import content_hash
from ..result import ReferenceResult
from .calculators import CalculatorEngine

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class MACEEngine(CalculatorEngine):
    """A MACE model, loaded once in each process.

    Attributes
    ----------
    model
        A file, or a name such as ``"mace_mp:medium"``.
    head, dtype, device, trust
        As in `MACEDescriptor`.
    """

    kind: ClassVar[str] = "mace"
    package: ClassVar[str] = "mace-torch"

    parameters: Annotated[Mapping[str, Any], HIDDEN] = field(default_factory=dict)
    fallbacks: Annotated[tuple[Mapping[str, Any], ...], HIDDEN] = ()
    model: Annotated[ModelFile, REQUIRED] = ""
    head: str | None = None
    dtype: Literal["float32", "float64"] = "float64"
    device: str = "cpu"
    trust: bool = False

    @property
    def name(self) -> str:
        return self.model

    def identity(self, k: int = 0) -> dict[str, Any]:
        from ...descriptors.mace.loading import locate

        return {
            **super().identity(k),
            "model": content_hash(locate(self.model)),
            "head": self.head,
            "dtype": self.dtype,
        }

    @property
    def takes(self) -> tuple[str, ...]:
        from ...descriptors.mace.network import states_read

        return states_read(self._module())

    def missing(self, elements: Sequence[str]) -> list[str]:
        from ...descriptors.mace.internals import known_numbers

        try:
            known = known_numbers(self._module())
        except DescriptorError as error:
            return [f"{error} (labelling.model)"]
        unknown = [s for s in elements if atomic_numbers[s] not in known]
        return [f"{s}: is not known to {self.model} (labelling.model)" for s in unknown]

    def evaluate(
        self, atoms: Atoms, directory: Path, attempt: int, properties: Sequence[str]
    ) -> ReferenceResult:
        from ...descriptors.torch.runtime import default_dtype

        with default_dtype(self.dtype):
            return super().evaluate(atoms, directory, attempt, properties)

    def make(self, parameters: Mapping[str, Any]) -> Calculator:
        from ...descriptors.mace.loading import module_calculator

        return module_calculator(self._module(), self.head, self.dtype, self.device)

    def _module(self) -> torch.nn.Module:
        from ...descriptors.mace.loading import locate

        path = locate(self.model)
        return _loaded(path, path.stat().st_mtime_ns, self.dtype, self.device, self.trust)


@lru_cache(maxsize=1)
def _loaded(path: Path, stamp: int, dtype: str, device: str, trust: bool) -> torch.nn.Module:
    """The model as it is brought to a dtype and a device; ``stamp`` is the file's time."""
    from ...descriptors.mace.loading import load_module

    return load_module(path, trust)
