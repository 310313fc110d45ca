"""The biased surface as a model of torch-sim, whose integrators run many systems at once."""

from __future__ import annotations

import torch
from ase import Atoms

from ..descriptors.mace import MACEDescriptor
from ..descriptors.mace.internals import heads_of
from ..descriptors.mace.network import Network
from ..descriptors.torch import Graph, TorchDescriptor
from ..descriptors.torch.graph import structure_sums
from ..errors import DescriptorError
from ..surrogate.surrogate import Surrogate
from .kinds import SIGMA_FLOOR, Bias, Deviation
from .torchsim_releases import ModelInterface, SimState, neighbour_pairs, periodic_axes


class BiasedModel(ModelInterface):
    """The biased energy of a torch model, E - tau sigma_E, as a torch-sim model.

    It equals `BiasedCalculator` on the calculator of the same model, for a batch of systems of
    any sizes at a time. With a `MACEDescriptor` it stays on the model's device except for the
    neighbour list; any other adapter gets the systems as ASE structures. The posterior's
    algebra is done in float64 whatever the dtype of the model. Needs
    ``pip install ase_bayesel[mace,torchsim]``.

    torch-sim 0.6 (Python 3.12) and 0.3 (Python 3.11) are supported. A state of 0.6 is periodic
    axis by axis; 0.3 knows only full or no periodicity, and its ``atoms_to_state`` takes a slab
    with two periodic directions for a cluster without a warning.

    Parameters
    ----------
    surrogate
        Gives sigma_E; its descriptor must be a `TorchDescriptor`, such as
        `MACEDescriptor`, whose network gives E. Setting the attribute later, after a
        pick, say, counts from the next evaluation on.
    tau
        Strength of the bias (no unit), or ``(n_systems,)`` that of each system; an attribute that
        can be set as well.
    compute_stress
        Also give the stress, which needs three periodic directions.
    bias
        `Deviation` or `Variance`.

    Raises
    ------
    DescriptorError
        If the surrogate's descriptor is another one, or for a bias with a region or an
        energy limit: a state of torch-sim knows neither tags nor a start.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        tau: float | torch.Tensor,
        compute_stress: bool = True,
        bias: Bias = Deviation(),
    ) -> None:
        super().__init__()
        if bias.region is not None or bias.energy_limit is not None:
            raise DescriptorError("bias: region and energy_limit need BiasedCalculator")
        self.bias = bias
        self.surrogate = surrogate
        self.tau = tau
        self._compute_forces, self._compute_stress = True, compute_stress

    @property
    def surrogate(self) -> Surrogate:
        """The surrogate in use."""
        return self._surrogate

    @surrogate.setter
    def surrogate(self, surrogate: Surrogate) -> None:
        descriptor = surrogate.descriptor
        if not isinstance(descriptor, TorchDescriptor):
            raise DescriptorError(
                "surrogate: expected features of a TorchDescriptor, such as MACEDescriptor, got "
                f"{type(descriptor).__name__}"
            )
        self._surrogate, self._descriptor = surrogate, descriptor
        self._device, self._dtype = descriptor.device, descriptor.dtype
        factor = torch.from_numpy(surrogate.posterior.precision_factor.copy())
        self._factor = factor.to(self._device)

    def forward(self, state: SimState | dict) -> dict[str, torch.Tensor]:
        """One evaluation of all systems.

        Returns
        -------
        ``energy (n_systems,)`` eV and ``forces (n_atoms, 3)`` eV/A on the biased
        surface, ``stress (n_systems, 3, 3)`` eV/A^3, and ``energy_std (n_systems,)``
        eV, which is sigma_E.

        Raises
        ------
        DescriptorError
            For an element that the model lacks, positions that are not finite, or where a
            stress is asked for without three periodic directions.
        """
        if not isinstance(state, SimState):
            state = SimState(**state, masses=torch.ones_like(state["positions"][:, 0]))
        if self._compute_stress and not periodic_axes(state).all():
            raise DescriptorError(
                "a stress needs periodic systems; use BiasedModel(..., compute_stress=False)"
            )
        structure, n_systems = state.system_idx.to(self._device), len(state.cell)
        graph = self._passed(state)
        phi = structure_sums(graph.features, structure, n_systems)
        variance, direction = self._variance(phi.detach().double())
        U, factor = self.bias.U_of_variance(variance)
        dU_dphi = direction * torch.as_tensor(factor).expand_as(U)[:, None]
        outputs = [graph.energy, phi]
        tau = torch.as_tensor(self.tau, dtype=U.dtype, device=U.device).expand(n_systems)
        cotangents = [torch.ones_like(graph.energy), (-tau[:, None] * dU_dphi).to(phi)]
        by_position, by_strain = graph.gradient_tensors(outputs, cotangents, last=True)
        energy = graph.energy.detach() - tau * U
        sigma = torch.sqrt(variance + SIGMA_FLOOR**2)
        results = {"energy": energy, "energy_std": sigma, "forces": -by_position}
        if self._compute_stress:
            volume = torch.linalg.det(state.cell).abs().to(by_strain)
            results["stress"] = (by_strain + by_strain.mT) / (2.0 * volume[:, None, None])
        return {name: value.to(self._dtype) for name, value in results.items()}

    def _variance(self, phi: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """phi^T Sigma phi ``(B,)`` and Sigma phi ``(B, D)`` of the feature rows ``phi (B, D)``."""
        factor = self._factor
        white = torch.linalg.solve_triangular(factor.mT, phi.mT, upper=False)
        return white.square().sum(dim=0), torch.linalg.solve_triangular(
            factor, white, upper=True
        ).mT

    def _passed(self, state: SimState) -> Graph:
        """One forward pass; only that of MACE keeps positions and cells on the device."""
        descriptor = self._descriptor
        if not isinstance(descriptor, MACEDescriptor):
            return descriptor.checked_graph(_frames(state))
        graph = descriptor.network.run(self._graphs(state, descriptor.network))
        return graph._replace(features=graph.features[:, descriptor.columns])

    def _graphs(self, state: SimState, network: Network) -> dict[str, torch.Tensor]:
        """The systems as one batch of graphs in the form of mace."""
        sizes = state.n_atoms_per_system.tolist()
        edges, unit_shifts, shifts = self._edges(state, sizes, network.cutoff)
        numbers = torch.tensor(network.numbers)
        known = torch.full((200,), -1).index_copy(0, numbers, torch.arange(len(numbers)))
        types = known[state.atomic_numbers.cpu().long()]
        if (types < 0).any():
            missing = state.atomic_numbers.cpu()[types < 0].min()
            raise DescriptorError(f"atomic number {int(missing)} is not one of the model's")
        one_hot = torch.nn.functional.one_hot(types, len(network.numbers))
        head = heads_of(network.module).index(network.head)
        graphs = {
            "positions": state.positions.detach().clone().to(self._dtype),
            "cell": state.row_vector_cell.to(self._dtype).reshape(-1, 3),
            "batch": state.system_idx,
            "ptr": torch.tensor([0, *sizes]).cumsum(0),
            "node_attrs": one_hot.to(self._dtype),
            "edge_index": edges,
            "unit_shifts": unit_shifts.to(self._dtype),
            "shifts": shifts.to(self._dtype),
            "head": torch.full((len(sizes),), head),
        }
        return {name: tensor.to(self._device) for name, tensor in graphs.items()}

    def _edges(
        self, state: SimState, sizes: list[int], radius: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Edges ``(2, E)``, the cells that they cross ``(E, 3)`` and their shifts in A, on the CPU.

        Found system by system in float64, as in mace.
        """
        axes, cells = periodic_axes(state), state.row_vector_cell.detach().cpu().double()
        positions = state.positions.detach().cpu().double()
        if not positions.isfinite().all():
            raise DescriptorError("positions: not all of them are finite")
        edges, unit_shifts, shifts, first = [], [], [], 0
        for system, cell in zip(positions.split(sizes), cells, strict=True):
            pairs, crossed = neighbour_pairs(system, cell, axes, radius)
            edges.append(pairs + first)
            unit_shifts.append(crossed)
            shifts.append(crossed @ cell)
            first += len(system)
        return torch.cat(edges, dim=1), torch.cat(unit_shifts), torch.cat(shifts)


def _frames(state: SimState) -> list[Atoms]:
    """The systems of a state as ASE structures."""
    sizes = state.n_atoms_per_system.tolist()
    numbers = state.atomic_numbers.cpu().split(sizes)
    positions = state.positions.detach().cpu().double().split(sizes)
    axes, cells = periodic_axes(state).numpy(), state.row_vector_cell.detach().cpu().double()
    return [
        Atoms(numbers=z.numpy(), positions=r.numpy(), cell=cell.numpy(), pbc=axes)
        for z, r, cell in zip(numbers, positions, cells, strict=True)
    ]
