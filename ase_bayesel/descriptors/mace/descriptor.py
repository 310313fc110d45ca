"""MACE node features behind the interface of a descriptor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols

from ...errors import DescriptorError
from ...io.hashing import content_hash
from ..base import Features, Gradient, OnePass, Pullback, Sketch, as_frames
from .internals import is_mace_calculator
from .loading import file_at, locate, weights_sha256
from .network import states_read
from .passes import MACEPass
from .rows import feature_derivatives, sketched_features
from .runtime import DTYPES, dtype_name
from .source import (
    build_network,
    check_file,
    from_calculator,
    from_file,
    layer_columns,
    numbers_of,
)

COMPONENTS = ("invariant", "all")
CHUNK_ATOMS = {"cpu": 64, "cuda": 2048}
"""Atoms in one batch of `MACEDescriptor.compute`; larger ones only pay on a GPU, see
benchmarks/mace_chunks.py."""
BATCH_ATOMS = {"cpu": 32, "cuda": 4096}
"""Atoms in one batch of walkers, with a backward pass; see benchmarks/mace_batch.py. More would
pay little on a GPU and take more of its memory."""


class MACEDescriptor:
    """Node features of a MACE model (Batatia et al., NeurIPS 2022).

    A model file is a Python pickle: unpickling one runs whatever code it holds. So the model
    is made anew from the numbers and tensors of the file, unless you ``trust`` it.

    The usual blocks of the model are replaced by faster ones in a copy, after a
    comparison on a small cluster (relative deviation at most 1e-10 in double,
    1e-4 in single precision); ``network.lean`` tells whether that was possible.
    The copy keeps the weights as they were when the descriptor was made.

    Exact force and virial rows cost D backward passes, or 3 N + 6 Jacobian-vector
    products where that is cheaper; `sketch` and `force_uncertainty` do with fewer.
    benchmarks/mace_step.py and mace_uncertainty.py measure what that means.

    Parameters
    ----------
    model
        Path of a model file, the name of a foundation model (``"mace_mp:medium"``,
        ``"mace_off:small"``; downloaded once, where there is a network), or a
        MACECalculator with one model, which is then shared and not copied.
    components
        ``"invariant"``: the scalars of every layer, which rotations, reflections
        and permutations of equal atoms leave alone (256 for the medium model of
        MACE-MP-0). ``"all"``: every component of the node features (640 there), as
        in Rocke and Kermode (2025). Those beyond the scalars turn with the
        structure, so energies, uncertainties and selections depend on how a
        structure is oriented in space.
    num_layers
        Use the first this many layers; all by default.
    head
        Head of the energy model. Features do not depend on it.
    dtype
        ``"float32"`` or ``"float64"``; by default that of the model.
    device
        A PyTorch device such as ``"cuda"``; by default that of the calculator,
        else ``"cpu"``.
    elements
        Cut the model down to these elements, which makes one that knows many
        faster. The smaller model is compared with the full one
        and refused if it differs.
    model_file
        Where the model of a calculator lies on disk, which `spec` needs.
    trust
        Unpickle the file, for a model that mace's constructor does not make the same again.

    Raises
    ------
    DescriptorError
        If the model cannot be found, read or used; the message says what to give.
    """

    def __init__(
        self,
        model: str | PathLike | Calculator,
        components: str = "invariant",
        num_layers: int | None = None,
        head: str | None = None,
        dtype: str | None = None,
        device: str | None = None,
        elements: Sequence[str] | None = None,
        model_file: str | PathLike | None = None,
        trust: bool = False,
    ) -> None:
        if components not in COMPONENTS:
            raise DescriptorError(f"components: must be one of {COMPONENTS}, got {components!r}")
        if dtype is not None and dtype not in DTYPES:
            raise DescriptorError(f"dtype: must be one of {tuple(DTYPES)}, got {dtype!r}")
        self.components = components
        if isinstance(model, Calculator):
            source = from_calculator(model)
        else:
            source = from_file(model, trust)
        self.model_file = source.file
        full = build_network(source, head, dtype, device)
        if model_file is not None:
            self.model_file = locate(model_file)
            if isinstance(model, Calculator):
                check_file(full.module, self.model_file, trust)
        self._full = full
        self._cut = None if elements is None else list(elements)
        network = full if elements is None else full.cut(numbers_of(elements))
        self.network = network.to_lean()
        self._layers = layer_columns(full.module, components)
        self.num_layers = len(self._layers) if num_layers is None else int(num_layers)
        if not 1 <= self.num_layers <= len(self._layers):
            raise DescriptorError(f"num_layers: must be 1 to {len(self._layers)}, got {num_layers}")
        chosen = [column for layer in self._layers[: self.num_layers] for column in layer]
        self.columns = torch.tensor(chosen, device=self.network.device)
        self._known: tuple[Calculator, bool] | None = None

    @property
    def n_features(self) -> int:
        """Length D of a feature row."""
        return len(self.columns)

    @property
    def elements(self) -> list[str]:
        """Symbols of the elements that it knows, by atomic number."""
        return [chemical_symbols[z] for z in self.network.numbers]

    @property
    def states_read(self) -> tuple[str, ...]:
        """Which keys of an `ElectronicState` the model reads."""
        return states_read(self.network.module)

    def compute(self, frames: Atoms | Iterable[Atoms], derivatives: bool = False) -> list[Features]:
        """Features of one or more structures of any sizes.

        Parameters
        ----------
        frames
            One structure or several.
        derivatives
            Also form the Jacobian and the strain derivative of the structure sum.

        Returns
        -------
        One `Features` per structure, as float64 arrays whatever the model's dtype.

        Raises
        ------
        DescriptorError
            For an element that the model lacks or a position that is not finite.
        """
        features: list[Features] = []
        for batch in self._batches(as_frames(frames)):
            if derivatives:
                features += feature_derivatives(self.network, batch, self.columns)
            else:
                features += self._values(batch)
        return features

    def sketch(
        self, frames: Atoms | Iterable[Atoms], n_projections: int, rng: np.random.Generator
    ) -> list[Sketch]:
        """Features with random projections of the force rows, see `Sketch`.

        A batch of structures pays ``n_projections`` + 6 Jacobian-vector products, each
        about one and a half backward passes.

        Raises
        ------
        DescriptorError
            As `compute`.
        """
        if n_projections < 1:
            raise ValueError(f"n_projections: must be at least 1, got {n_projections}")
        sketches: list[Sketch] = []
        for batch in self._batches(as_frames(frames)):
            sketches += sketched_features(self.network, batch, self.columns, n_projections, rng)
        return sketches

    def linearize(
        self, atoms: Atoms, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, Pullback]:
        """The feature row ``(D,)`` and a function from cotangents to gradients.

        With ``weights (G, n_atoms)`` that many weighted sums, as in `Descriptor`.
        """
        forward = self.forward(atoms)
        if weights is None:
            return forward.phi, lambda cotangent: forward.gradient(0.0, cotangent)
        rows = weights @ forward.values
        return rows, lambda cotangent: forward.gradient(0.0, weights.T @ cotangent)

    def vjp(self, atoms: Atoms, cotangent: np.ndarray) -> Gradient:
        """Gradient of ``cotangent . phi``: positions ``(n_atoms, 3)`` and strain ``(6,)``."""
        return self.forward(atoms).gradient(0.0, cotangent, last=True)

    @property
    def batch_atoms(self) -> int:
        """Atoms in one batch beyond which more structures in it no longer pay."""
        return BATCH_ATOMS.get(self.network.device.type, 32)

    def forward(self, atoms: Atoms) -> OnePass:
        """Energy and feature row of one structure from one forward pass of the model."""
        return OnePass(self.forward_batch([atoms]))

    def forward_batch(self, frames: Sequence[Atoms]) -> MACEPass:
        """Energies and feature rows of structures from one forward pass of the model."""
        return MACEPass(self.network.forward(frames), self.columns, [len(a) for a in frames])

    def serves(self, calculator: Calculator) -> bool:
        """Whether ``calculator`` is a MACECalculator on this very model, so `forward` replaces it.

        The same weights, head, dtype and kind of device; a committee, a compiled
        model or converted units are not served.
        """
        if self._known is None or self._known[0] is not calculator:
            self._known = (calculator, self._is_model_of(calculator))
        return self._known[1]

    def _is_model_of(self, calculator: Calculator) -> bool:
        if not is_mace_calculator(calculator):
            return False
        models = getattr(calculator, "models", None)
        if models is None or len(models) != 1:
            return False
        if calculator.energy_units_to_eV != 1.0 or calculator.length_units_to_A != 1.0:
            return False
        ours, theirs = self._full, models[0]
        if calculator.head != ours.head or calculator.use_compile:
            return False
        if calculator.info_keys != ours.info_keys or calculator.device.type != ours.device.type:
            return False
        return theirs is ours.module or weights_sha256(theirs) == weights_sha256(ours.module)

    def prior_std(self) -> np.ndarray:
        """Ones, ``(D,)``: no feature is held smaller than another before any data."""
        return np.ones(self.n_features)

    def spec(self) -> dict[str, Any]:
        """Everything needed to build the same descriptor again; the model by path and SHA-256.

        Raises
        ------
        DescriptorError
            If the model came with a calculator and no ``model_file`` was given.
        """
        if self.model_file is None:
            raise DescriptorError(
                "the file of this MACE model is not known, so the descriptor cannot be saved; "
                "give MACEDescriptor(calculator, model_file=path)"
            )
        return {
            "kind": "mace",
            "model": str(self.model_file),
            "sha256": content_hash(self.model_file),
            "components": self.components,
            "num_layers": self.num_layers,
            "head": self.network.head,
            "dtype": dtype_name(self.network.module),
            "device": str(self.network.device),
            "elements": self._cut,
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], trust: bool = False) -> MACEDescriptor:
        """The descriptor that `spec` describes, on the CPU where its device is missing.

        A spec may come from a stranger's file: it says nothing of ``trust``, and its model is a
        path, as `spec` gives it. One by name would be downloaded.

        Raises
        ------
        DescriptorError
            If the model file is gone or is not the one that was saved.
        """
        path = file_at(spec["model"])
        if content_hash(path) != spec["sha256"]:
            raise DescriptorError(f"{path}: not the MACE model that was saved (other SHA-256)")
        device = spec["device"]
        if device.startswith("cuda") and not torch.cuda.is_available():
            device = "cpu"
        return cls(
            path,
            spec["components"],
            spec["num_layers"],
            spec["head"],
            spec["dtype"],
            device,
            spec["elements"],
            trust=trust,
        )

    def __repr__(self) -> str:
        return (
            f"MACEDescriptor({str(self.model_file)!r}, components={self.components!r}, "
            f"num_layers={self.num_layers}, dtype={dtype_name(self.network.module)!r})"
        )

    def _values(self, batch: Sequence[Atoms]) -> list[Features]:
        with torch.no_grad():
            features = self.network.forward(batch).node_features[:, self.columns]
        values = features.cpu().numpy().astype(float)
        ends = np.cumsum([len(atoms) for atoms in batch])
        return [
            Features(values[end - len(atoms) : end]) for atoms, end in zip(batch, ends, strict=True)
        ]

    def _batches(self, frames: Sequence[Atoms]) -> Iterator[list[Atoms]]:
        limit = CHUNK_ATOMS.get(self.network.device.type, 64)
        batch: list[Atoms] = []
        for atoms in frames:
            if batch and sum(map(len, batch)) + len(atoms) > limit:
                yield batch
                batch = []
            batch.append(atoms)
        if batch:
            yield batch
