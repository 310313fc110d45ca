"""What a campaign will cost on this machine, and what its config leaves open, before it begins."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ..bias.calculator import BiasedCalculator
from ..descriptors.ace.arguments import has_more_features
from ..descriptors.base import Descriptor
from ..dynamics.ensembles import NPT
from ..dynamics.triggers import uncalibrated
from ..io.words import counted, duration, rounded
from ..structures.labels import PROPERTIES, targets, whole_atoms
from ..surrogate.assembly import assembling
from ..surrogate.design import BATCH_ATOMS, Noise, contributed_properties
from ..surrogate.fitting import baseline_energies
from ..surrogate.posterior import Posterior
from ..surrogate.row_factors import BATCH_ROWS
from ..surrogate.steps import finished
from ..surrogate.surrogate import Surrogate
from .build.models import build_descriptor, force_projections
from .build.potentials import build_potential, given_shift, initial_potential
from .config import ACEConfig, AnyDescriptor
from .config.campaign import CampaignConfig
from .events import RoundReport
from .first_labels import FIRST

EVALUATIONS = 3
"""So many evaluations of a start are timed, after one that is not."""
MOVE_A = 1e-4
"""By this atoms move between them, so that nothing is known already."""

MANY_FEATURES = 5000
"""Beyond, a fit takes minutes and a posterior hundreds of MB."""


@dataclass(frozen=True)
class Cost:
    """Of the first fit, and of the walkers.

    Attributes
    ----------
    n_structures, n_features, n_rows
        Of the fit. An energy is one row, forces are 3 for each atom or as many as there are
        ``force_projections``, a virial is 6.
    memory_bytes
        Of the matrices that the fit holds at a time; of libraries and networks nothing.
    assembly_s
        For the rows of all structures, by the time of the largest one.
    n_atoms, steps_per_s
        Of the first start: evaluations with uncertainty, and every ``check_interval`` steps the
        exact force deviations, which a trigger needs at most.
    n_walkers, steps
        In a round, and of each walker at most.
    """

    n_structures: int
    n_features: int
    n_rows: int
    memory_bytes: int
    assembly_s: float
    n_atoms: int
    steps_per_s: float
    n_walkers: int
    steps: int

    def lines(self) -> list[str]:
        """In words."""
        steps = self.n_walkers * self.steps
        told = f"{steps} steps" if self.n_walkers == 1 else f"{self.n_walkers} x {self.steps} steps"
        return [
            f"first fit: {counted(self.n_features, 'feature')}, {counted(self.n_rows, 'row')} of "
            f"{counted(self.n_structures, 'structure')}; its matrices take "
            f"{_bytes(self.memory_bytes)}, its rows {duration(self.assembly_s)} on this machine",
            f"walkers: {rounded(self.steps_per_s, 3)} steps per second with "
            f"{counted(self.n_atoms, 'atom')} on this machine, so that one process alone would "
            f"take {duration(steps / self.steps_per_s)} for the {told} of a round",
        ]

    def notes(self) -> list[str]:
        """What is doubtful, in words."""
        if self.n_rows >= self.n_features:
            return []
        return [
            f"the fit has fewer rows ({self.n_rows}) than features ({self.n_features}), so that "
            "the prior decides much of it; take a smaller basis (descriptor.totaldegree, order) "
            "or more labelled structures"
        ]


def open_points(config: CampaignConfig) -> list[str]:
    """What a config leaves open, in words; nothing is evaluated."""
    told = large_basis(config.descriptor)
    recipe = config.data.bootstrap
    if config.data.test is None and not (recipe and recipe.test):
        told.append(
            "without a test set (data.test) no errors are told, and no round is the best one"
        )
    names = [single.kind for single in uncalibrated(config.explore.trigger)]
    if names:
        told.append(
            f"explore.trigger: the threshold of {', '.join(names)} is found (calibrate) "
            "when the campaign begins"
        )
    explore = config.explore
    if explore.pressure_GPa is not None and not (
        explore.has_cell_moves or isinstance(explore.ensemble, NPT)
    ):
        told.append(
            "explore.pressure_GPa: nothing changes the cell, so that only starts with an ensemble "
            "npt of their own heed it; take ensemble: npt, or a move of kind cell"
        )
    return told


def large_basis(features: AnyDescriptor | None) -> list[str]:
    """A note where linear ACE of several elements is so large that an embedding would pay."""
    if not isinstance(features, ACEConfig) or features.embedding is not None:
        return []
    elements, degree = features.elements, features.totaldegree
    if len(elements) == 1 or not has_more_features(MANY_FEATURES, elements, features.order, degree):
        return []
    return [
        f"descriptor: {len(elements)} elements and totaldegree {degree} give more than "
        f"{MANY_FEATURES} features; descriptor.embedding: {min(3, len(elements))} takes far fewer "
        "(docs/how-to/many_elements.md)"
    ]


def measured_cost(config: CampaignConfig, train: Sequence[Atoms], starts: Sequence[Atoms]) -> Cost:
    """The cost, from the assembly of one structure and some evaluations of one start.

    Parameters
    ----------
    config
        Of the campaign.
    train, starts
        Its structures.

    Raises
    ------
    BayeselError
        If the descriptor or the potential fails on them.
    """
    descriptor = build_descriptor(config, initial_potential(config))
    rows = [_n_rows(config, atoms) for atoms in train]
    largest = int(np.argmax(rows))
    assembly_s = _assembly_s(config, descriptor, train, largest) * sum(rows) / max(rows)
    width = descriptor.n_features + 1
    n_properties = sum(getattr(config.data.keys, prop) is not None for prop in PROPERTIES)
    triangles = 2 * n_properties + 2  # with and without labels, and two that are being merged
    memory = 8 * width * (triangles * width + BATCH_ROWS + 3 * BATCH_ATOMS)
    explore = config.explore
    n_walkers = explore.walkers * (2 if explore.unbiased_walkers else 1)
    return Cost(
        len(train),
        descriptor.n_features,
        sum(rows),
        memory,
        assembly_s,
        len(starts[0]),
        1.0 / _step_s(config, descriptor, train, starts[0]),
        n_walkers,
        explore.steps,
    )


def label_plan(
    config: CampaignConfig,
    inputs: Mapping[str, Sequence[Atoms]],
    reports: Sequence[RoundReport] = (),
) -> list[str]:
    """How many labels there are and are to come; nothing where the first ones are given.

    Parameters
    ----------
    config
        Of the campaign.
    inputs
        Its structures, as `check_inputs` gives them.
    reports
        Of the rounds that are done.
    """
    first, test = (len(inputs.get(name, ())) for name in FIRST)
    explore, stop = config.explore, config.stop
    if reports:
        told = f"labels: {reports[-1].n_labels} so far"
    elif first:
        told = f"labels: {first + test} before the first fit"
        told += f" ({test} of them a test set)" if test else ""
    else:
        return []
    left = stop.max_rounds - max(0, len(reports) - 1)
    if left <= 0:
        return [f"{told}, in all rounds"]
    most = "" if stop.max_labels is None else f", {counted(stop.max_labels, 'pick')} in all"
    rounds = "the one round" if left == 1 else f"each of {left} rounds"
    return [f"{told}, then at most {explore.picks} in {rounds}{' more' if reports else ''}{most}"]


def _baseline(config: CampaignConfig, train: Sequence[Atoms]) -> Mapping[str, float]:
    """Reference energies; zeros, which cost the same, where there are no labels yet."""
    if config.data.train_file is None:
        return dict.fromkeys({symbol for atoms in train for symbol in atoms.symbols}, 0.0)
    return baseline_energies(train, config.data.keys, config.data.e0s, apart=False)


def _n_rows(config: CampaignConfig, atoms: Atoms) -> int:
    """Rows of the labels of a structure, or of those that it would have where it has none."""
    keys, whole = config.data.keys, whole_atoms(atoms)
    n_forces = 3 * (len(atoms) if whole is None else int(whole.sum()))
    if whole is None:
        n_forces = min(n_forces, force_projections(config.descriptor) or n_forces)
    properties = [prop for prop in PROPERTIES if getattr(keys, prop) is not None]
    sizes = {"energy": 1, "forces": n_forces, "virial": 6}
    found = contributed_properties(atoms, targets(atoms, keys), properties)
    return sum(sizes[prop] for prop in found)


def _assembly_s(
    config: CampaignConfig, descriptor: Descriptor, train: Sequence[Atoms], number: int
) -> float:
    """Seconds for the rows of a structure, the second time."""
    keys = config.data.keys
    e0s = _baseline(config, train)
    for _ in range(2):
        begin = time.perf_counter()
        factors = finished(
            assembling(
                *([train[number]], descriptor, keys, e0s, descriptor.prior_std()),
                force_projections(config.descriptor),
            )
        )
        for factor in (*factors.labelled.values(), *factors.unlabelled.values()):
            _ = factor.triangle
        spent = time.perf_counter() - begin
    return spent


def _step_s(
    config: CampaignConfig, descriptor: Descriptor, train: Sequence[Atoms], start: Atoms
) -> float:
    """Seconds for a step of a walker, checks included.

    With the prior in place of a posterior, which costs the same.
    """
    e0s = _baseline(config, train)
    posterior = Posterior.from_prior(descriptor.prior_std())
    surrogate = Surrogate(descriptor, posterior, e0s, Noise())
    model = initial_potential(config)
    potential = build_potential(config, model, surrogate, given_shift(config))
    calculator, atoms = BiasedCalculator(potential, surrogate), start.copy()
    calculator.get_forces(atoms)
    begin = time.perf_counter()
    for k in range(EVALUATIONS):
        atoms.positions[0, k % 3] += MOVE_A
        calculator.get_forces(atoms)
    middle = time.perf_counter()
    _ = calculator.prediction.force_std
    end = time.perf_counter()
    return (middle - begin) / EVALUATIONS + (end - middle) / config.explore.check_interval


def _bytes(number: int) -> str:
    large = number >= 2**30
    return f"{rounded(number / 2 ** (30 if large else 20), 3)} {'GiB' if large else 'MiB'}"
