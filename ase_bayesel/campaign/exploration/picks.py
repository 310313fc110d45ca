"""A pick: a structure that goes to a label, and how the steps of a walker lead to one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from ...dynamics.triggers import PickRule, PickState, Reported, TriggerReport
from ...dynamics.trust import BoundFrame
from ...dynamics.walker_step import WalkerStep
from ...structures.environments import CutOut
from ...structures.identity import canonical, structure_id

START_ENERGY = "start_energy"
"""The name of what `rules.StartEnergy` reports."""


@dataclass(frozen=True, eq=False)
class AtomDeviations:
    """What is known of each atom's uncertainty where a trigger fired; all are ``(n_atoms,)``.

    Attributes
    ----------
    local_energy_std
        Deviations of the atomic energies, eV.
    force_std
        Exact force deviations, eV/A. None where only the leading atom was searched for: its
        deviation is part of the trigger's value then.
    force_std_bound
        Lower bounds of the force deviations, eV/A, where there are no exact ones.
    extrapolated
        For what of the atomic energies is extrapolated, eV (`Support.extrapolated`). None in files
        of versions that did not keep it.
    """

    local_energy_std: np.ndarray
    force_std: np.ndarray | None = None
    force_std_bound: np.ndarray | None = None
    extrapolated: np.ndarray | None = None

    @property
    def leading(self) -> int:
        """The atom with the largest force deviation that is known, else atomic energy."""
        known = (self.force_std, self.force_std_bound, self.local_energy_std)
        return int(np.argmax(next(values for values in known if values is not None)))

    def of(self, indices: np.ndarray) -> AtomDeviations:
        """Those of some atoms."""
        given = {name: values for name, values in vars(self).items() if values is not None}
        return AtomDeviations(**{name: values[indices] for name, values in given.items()})


@dataclass(frozen=True)
class TriggerEvent(Reported):
    """What was seen at one frame where triggers were looked at: enough to pick it, and plain data.

    Attributes
    ----------
    atoms, step
        The frame and its absolute number.
    temperature_K, tau
        Of the walker at this step.
    energy, energy_std
        Unbiased energy of the potential and sigma_E, eV.
    reports
        Of the triggers that were evaluated; empty where lazy checks said that none can fire.
    at_bound
        Whether the walker met its bound of trust here.
    deviations
        Of the atoms; None where it was not asked for.
    """

    atoms: Atoms
    step: int
    temperature_K: float
    energy: float
    energy_std: float
    tau: float
    reports: tuple[TriggerReport, ...]
    at_bound: bool = False
    deviations: AtomDeviations | None = None

    @classmethod
    def of(cls, step: WalkerStep, beyond: float = np.inf) -> TriggerEvent:
        """The event at a step whose triggers were looked at, at the bound if it met one.

        The atoms' deviations are taken along where a trigger fired, or its ratio of value and
        threshold is above ``beyond``.
        """
        frame = _looked_at(step)
        prediction = frame.prediction
        assert prediction is not None
        deviations = None
        if any(report.fired or report.ratio > beyond for report in frame.reports):
            deviations = AtomDeviations(
                prediction.local_energy_std.copy(),
                None if prediction.searched else prediction.force_std.copy(),
                prediction.force_std_bound.copy() if prediction.searched else None,
                prediction.extrapolated.copy(),
            )
        return cls(
            frame.atoms,
            step.step,
            frame.temperature_K,
            prediction.energy,
            prediction.energy_std,
            prediction.tau,
            frame.reports,
            step.beyond is not None,
            deviations,
        )

    @property
    def value(self) -> float:
        """The criterion of the leading trigger, NaN where none was evaluated.

        What is seen at starts has other units than a walker's criterion.
        """
        leading = self.without_start.leading
        return float("nan") if leading is None else leading.value

    @property
    def at_start(self) -> bool:
        """Whether the energy of the walker's start is uncertain."""
        return any(report.name == START_ENERGY for report in self.reports)

    @property
    def without_start(self) -> TriggerEvent:
        """The event without what was seen of the energy of a start; maybe nothing else was seen."""
        reports = tuple(report for report in self.reports if report.name != START_ENERGY)
        return replace(self, reports=reports, deviations=self.deviations if reports else None)

    @property
    def walked_into(self) -> bool:
        """Whether the walker met its bound, or something fires that is not its start."""
        return self.at_bound or self.without_start.fired is not None

    @property
    def ratio(self) -> float:
        """The leading trigger's value over its threshold, NaN where none was evaluated."""
        return float("nan") if self.leading is None else self.leading.ratio

    def row(self, walker: int) -> list[float]:
        """The row of the trace (`TRACE_COLUMNS`); nothing is picked yet."""
        per_atom = self.energy_std / len(self.atoms)
        return [walker, self.step, self.temperature_K, per_atom, self.value, self.tau, False]


def event_of(step: WalkerStep, beyond: float = np.inf) -> TriggerEvent | None:
    """`TriggerEvent.of` a step of a walker; None where triggers were not looked at."""
    return TriggerEvent.of(step, beyond) if step.checked or step.beyond is not None else None


def _looked_at(step: WalkerStep) -> WalkerStep | BoundFrame:
    """Where the triggers looked: the frame at the bound of trust, if the walker met it."""
    return step if step.beyond is None else step.beyond


@dataclass(frozen=True, eq=False)
class Candidate:
    """A frame of a walker that a batch may be chosen from, as of `canonical`, with its id."""

    structure: Atoms
    structure_id: str
    walker: int
    step: int

    @classmethod
    def of(cls, atoms: Atoms, walker: int, step: int) -> Candidate:
        """The candidate of a frame."""
        structure = canonical(atoms)
        return cls(structure, structure_id(structure), walker, step)


@dataclass(frozen=True, eq=False)
class Pick:
    """A structure that a walker has picked.

    What depends on a posterior (``report``, ``energy_std``, ``deviations``) is that under the
    posterior just before the pick entered it. Where another walker has picked at the same
    barrier, the pick was looked at again, and these are the values of the second look.

    Attributes
    ----------
    structure
        As of `canonical`: without momenta and calculator; of ``info`` charge and multiplicity
        alone. The walker's frame, or the environment of an atom of it (`cut_out`): the report and
        the reason are still of the frame then.
    structure_id
        Its content hash.
    walker, step
        Which walker, at which absolute step.
    report
        The trigger that fired, else the leading one; without the members of a combination, which
        ``reason`` names.
    reason
        Why it was picked, in words.
    energy, energy_std
        Unbiased energy as the potential predicts it, and sigma_E of the structure, eV. NaN of a
        cut-out, whose energy is no label: those of its frame are of many more atoms.
    deviations
        Of its atoms.
    temperature_K, tau
        Of the walker at this step.
    number
        Place in the batch, from 0; None before it is taken.
    """

    structure: Atoms
    structure_id: str
    walker: int
    step: int
    report: TriggerReport
    reason: str
    energy: float
    energy_std: float
    deviations: AtomDeviations
    temperature_K: float
    tau: float
    number: int | None = None

    @classmethod
    def of(cls, event: TriggerEvent, walker: int, why: str = "") -> Pick:
        """The pick of a frame, for the reason ``why`` beside what the trigger saw."""
        report, deviations = event.leading, event.deviations
        assert report is not None
        assert deviations is not None
        structure = canonical(event.atoms)
        return cls(
            structure,
            structure_id(structure),
            walker,
            event.step,
            replace(report, members=()),
            f"{why}: {report}" if why else str(report),
            event.energy,
            event.energy_std,
            deviations,
            event.temperature_K,
            event.tau,
        )

    @property
    def energies(self) -> list[float] | None:
        """What `Surrogate.condition` takes of the pick: its energy, or None where it has none."""
        return [self.energy] if np.isfinite(self.energy) else None

    def cut_out(self, rule: CutOut) -> Pick:
        """The pick with the environment of the atom that fired, or leads, in place of the frame.

        The same pick where the frame is no larger than what is cut out.
        """
        centre = self.report.atom_index
        centre = self.deviations.leading if centre is None else centre
        where = f"walker {self.walker}, step {self.step}"
        cut, indices = rule.cut(self.structure, centre, where)
        if len(cut) == len(self.structure):
            return self
        structure, report = canonical(cut), self.report
        if report.atom_index is not None:
            report = replace(report, atom_index=0)
        return replace(
            self,
            structure=structure,
            structure_id=structure_id(structure),
            report=report,
            reason=f"{self.reason}; atom {centre} of {len(self.structure)}, cut out",
            energy=float("nan"),
            energy_std=float("nan"),
            deviations=self.deviations.of(indices),
        )

    def seen_again(self, event: TriggerEvent) -> Pick | None:
        """The pick as the triggers see its structure under a later posterior.

        None where none of them fires any more.
        """
        if event.fired is None:
            return None
        again = Pick.of(event, self.walker)
        return replace(again, temperature_K=self.temperature_K, tau=self.tau)


def pick_after_frame(
    rule: PickRule,
    waiting: PickState[Pick],
    step: int,
    walker: int,
    event: TriggerEvent | None,
    known: Collection[str],
) -> tuple[PickState[Pick], Pick | None]:
    """What the rule remembers after a sane frame, and the pick, if any: this frame or an earlier.

    Parameters
    ----------
    rule
        Decides.
    waiting
        What it remembers of the walker.
    step, walker
        Absolute number of the frame, and whose it is.
    event
        What was seen; None where triggers were not looked at.
    known
        Ids of structures that are picked already: they are not picked again.
    """
    candidate = Pick.of(event, walker) if event is not None and event.fired is not None else None
    report = None if event is None else event.leading
    after, pick = rule.after_frame(waiting, candidate, step, report)
    if pick is not None and pick.structure_id in known:
        return PickState(waiting.last), None
    return after, pick


def pick_at_end(
    rule: PickRule, waiting: PickState[Pick], known: Collection[str]
) -> tuple[PickState[Pick], Pick | None]:
    """What the rule remembers at the end of a trajectory, and the pick that waited, if any.

    A structure whose id is ``known`` is not picked again.
    """
    pick = rule.at_end(waiting)
    if pick is None or pick.structure_id in known:
        return PickState(waiting.last), None
    return PickState(pick.step), pick
