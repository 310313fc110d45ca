"""Everything that a descriptor offers, from one hook: a forward pass of a torch model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator

from ...errors import DescriptorError
from ..base import Features, Gradient, OnePass, Pullback, Sketch, as_frames
from ..importing import Origin
from .calculator import TorchCalculator
from .graph import Graph, check_structure
from .passes import TorchPass
from .rows import feature_derivatives, feature_values, sketched_features
from .weights import weights_sha256


class TorchDescriptor(ABC):
    """Features of a torch model, by one hook.

    An adapter derives from this class, sets the first three attributes when it is made, and
    writes `graph`. docs/how-to/write_an_adapter.md has an example. The rest follows:
    features with derivatives, gradients, random projections of force rows, and the
    joint passes that serve a potential and its features at once.

    Attributes
    ----------
    module
        The network, in evaluation mode. Its weights say which model this is (`spec`); dtype
        and device are those of its parameters.
    elements
        Symbols of the elements that it knows.
    n_features
        Length D of a feature row.
    settings
        JSON values beside the weights that decide on the features: which layer, say. A
        saved surrogate is used only with a descriptor whose weights and settings are the same.
    twice_differentiable
        Whether autograd can go through the model's gradients. Where it cannot (own kernels, say),
        what would take a Jacobian-vector product takes D backward passes.
    states_read
        Which of ``charge`` and ``spin`` in ``atoms.info`` the model reads.
    chunk_atoms, walker_atoms
        By kind of device, atoms in one batch of `compute`, and in one batch of walkers with a
        backward pass. Larger ones only pay on a GPU; see benchmarks/mace_chunks.py and
        mace_batch.py.
    origin
        What it was made by, where that is known; set by `imported_descriptor`.
    """

    module: torch.nn.Module
    elements: Sequence[str]
    n_features: int
    settings: Mapping[str, Any] = {}
    twice_differentiable: bool = True
    states_read: tuple[str, ...] = ()
    chunk_atoms: ClassVar[Mapping[str, int]] = {"cpu": 64, "cuda": 2048}
    walker_atoms: ClassVar[Mapping[str, int]] = {"cpu": 32, "cuda": 4096}
    origin: Origin | None = None
    _known: tuple[Calculator, bool] | None = None

    @abstractmethod
    def graph(self, frames: Sequence[Atoms]) -> Graph:
        """The hook: one forward pass over structures, as a `Graph`.

        Its leaves are best those of `strained`. The structures hold known elements and finite
        numbers only, and are not to be changed. Some calls are made under ``torch.no_grad()``.

        Parameters
        ----------
        frames
            At least one structure, of any sizes and periodicity.
        """

    def is_model_of(self, calculator: Calculator) -> bool:
        """Whether a calculator of another package gives exactly the energies of this model.

        `graph` then stands in for it, so that one pass serves potential and features. An adapter
        may say so for the calculator of its package: the same weights, dtype and units.
        """
        return False

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the network."""
        return self._parameter.dtype

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self._parameter.device

    @property
    def batch_atoms(self) -> int:
        """Atoms in one batch beyond which more structures in it no longer pay."""
        return self.walker_atoms.get(self.device.type, 32)

    def compute(self, frames: Atoms | Iterable[Atoms], derivatives: bool = False) -> list[Features]:
        """Features of one or more structures of any sizes.

        Parameters
        ----------
        frames
            One structure or several.
        derivatives
            Also form the Jacobian and the strain derivative of the structure sum: by D backward
            passes, or 3 N + 6 Jacobian-vector products where that is cheaper.

        Returns
        -------
        One `Features` per structure, as float64 arrays whatever the model's dtype.

        Raises
        ------
        DescriptorError
            For an element that the model lacks or a position that is not finite.
        """
        features: list[Features] = []
        for batch, sizes in self._batches(as_frames(frames)):
            if derivatives:
                graph = self.checked_graph(batch)
                features += feature_derivatives(graph, sizes, self.twice_differentiable)
            else:
                with torch.no_grad():
                    values = feature_values(self.checked_graph(batch))
                features += map(Features, np.split(values, np.cumsum(sizes)[:-1]))
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
        for batch, sizes in self._batches(as_frames(frames)):
            asked = (
                self.checked_graph(batch),
                sizes,
                n_projections,
                rng,
                self.twice_differentiable,
            )
            sketches += sketched_features(*asked)
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

    def forward(self, atoms: Atoms) -> OnePass:
        """Energy and feature row of one structure from one forward pass of the model."""
        return OnePass(self.forward_batch([atoms]))

    def forward_batch(self, frames: Sequence[Atoms]) -> TorchPass:
        """Energies and feature rows of structures from one forward pass of the model."""
        sizes = [len(atoms) for atoms in frames]
        return TorchPass(self.checked_graph(frames), sizes, self.twice_differentiable)

    def calculator(self) -> Calculator:
        """The model's energies as an ASE calculator, which shares its passes with the features.

        Raises
        ------
        DescriptorError
            For a model without energies, at the first evaluation.
        """
        return TorchCalculator(self)

    def serves(self, calculator: Calculator) -> bool:
        """Whether ``calculator`` is this very model, so that `forward` replaces it."""
        if self._known is None or self._known[0] is not calculator:
            self._known = (calculator, self._is_this_model(calculator))
        return self._known[1]

    def prior_std(self) -> np.ndarray:
        """Ones, ``(D,)``: no feature is held smaller than another before any data."""
        return np.ones(self.n_features)

    def spec(self) -> dict[str, Any]:
        """Which features these are, with a hash of the weights, and what made them if known."""
        origin = self.origin
        return {
            "kind": "import",
            "adapter": f"{type(self).__module__}:{type(self).__qualname__}",
            "n_features": self.n_features,
            "settings": dict(self.settings),
            "weights": weights_sha256(self.module),
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
            "factory": None if origin is None else origin.factory,
            "parameters": {} if origin is None else dict(origin.parameters),
            "model": None if origin is None else origin.model,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n_features={self.n_features}, dtype={self.dtype})"

    @property
    def _parameter(self) -> torch.Tensor:
        for tensor in (*self.module.parameters(), *self.module.buffers()):
            if tensor.is_floating_point():
                return tensor
        raise DescriptorError(
            f"{type(self).__name__}: its module has no weights; define dtype and device"
        )

    def _is_this_model(self, calculator: Calculator) -> bool:
        if not isinstance(calculator, TorchCalculator):
            return self.is_model_of(calculator)
        theirs = calculator.descriptor
        return theirs is self or (
            type(theirs) is type(self)
            and theirs.settings == self.settings
            and (theirs.dtype, theirs.device.type) == (self.dtype, self.device.type)
            and weights_sha256(theirs.module) == weights_sha256(self.module)
        )

    def checked_graph(self, frames: Sequence[Atoms]) -> Graph:
        """`graph`, of structures that were checked, and checked for its shapes.

        Raises
        ------
        DescriptorError
            For an element that the model lacks or a value that is not finite, or if `graph`
            returns something else than it has to.
        """
        for atoms in frames:
            check_structure(atoms, self.elements)
        sizes = [len(atoms) for atoms in frames]
        return self.graph(frames).checked(type(self).__name__, sizes, self.n_features)

    def _batches(self, frames: Sequence[Atoms]) -> Iterator[tuple[list[Atoms], list[int]]]:
        """The structures in batches, with their numbers of atoms."""
        limit = self.chunk_atoms.get(self.device.type, 64)
        batch: list[Atoms] = []
        for atoms in frames:
            if batch and sum(map(len, batch)) + len(atoms) > limit:
                yield batch, [len(a) for a in batch]
                batch = []
            batch.append(atoms)
        if batch:
            yield batch, [len(a) for a in batch]
