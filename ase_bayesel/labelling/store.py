"""Labels on disk, by content: what was computed, of which structure, in which settings.

    settings/<settings>.json             what the name of the settings stands for
    <settings>/<id>.extxyz               a label: the structure with `REF_ENERGY` and so on
    <settings>/<id>.failed.json          a calculation that failed, with the reason
    <settings>/<id>.output/              what the engine left of it
    <settings>/<id>.running/             the directory of a calculation under way

A label's place follows from the structure and the settings alone, so that any number of
campaigns may share one directory and none computes what another has computed. Nothing is
ever overwritten but a failure's record, and that by the same calculation made again; a label by
hand that was corrected stays beside the new one, as ``<id>.extxyz.old_1``.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from ..errors import StoreError, StructureError
from ..io.atomic import write_atomically
from ..io.formats import FAILURE, KEY, LABEL, SETTINGS
from ..io.locks import locked
from ..structures.identity import STATES, canonical, geometry_id, structure_id
from ..structures.labels import (
    REF_ENERGY,
    REF_FORCES,
    REF_STRESS,
    WHOLE,
    PropertyKeys,
    is_stress,
    targets,
    whole_atoms,
)
from .result import ReferenceResult

SUFFIXES = {"labels": ".extxyz", "failures": ".failed.json", "running": ".running"}
BY_HAND = "by_hand"
"""Settings of labels that a user put in place."""
STORED_KEYS = PropertyKeys(REF_ENERGY, REF_FORCES)


class LabelCounts(NamedTuple):
    """Labels, failed calculations, and directories of calculations that run or were killed."""

    labels: int = 0
    failures: int = 0
    running: int = 0


@dataclass(frozen=True)
class Label:
    """What one reference calculation gave, or why it failed.

    Attributes
    ----------
    atoms
        The structure, without labels.
    settings
        Name of the settings, see `engines.settings_hash`.
    engine
        What the engine calls itself.
    values
        What it gave; None if it failed.
    reason
        Why it failed; empty if it did not.
    attempt
        0 for the engine's own settings, k for the k-th of its fallbacks.
    wall_s, host
        How long it took, and where it ran.
    output
        The kept directory of the engine, if there is one.
    """

    atoms: Atoms
    settings: str
    engine: str
    values: ReferenceResult | None = None
    reason: str = ""
    attempt: int = 0
    wall_s: float = 0.0
    host: str = ""
    output: Path | None = None

    @property
    def structure_id(self) -> str:
        """Content hash of the structure, see `structures.identity`."""
        return structure_id(self.atoms)

    @property
    def ok(self) -> bool:
        """Whether the calculation has succeeded."""
        return self.values is not None


def with_labels(atoms: Atoms, values: ReferenceResult, keys: PropertyKeys) -> Atoms:
    """A copy of a structure with labels under the keys of a training set.

    The virial is -volume times the stress, or the stress itself where the key names one
    (`is_stress`), ``(9,)`` as files hold it, and there only with three periodic directions. A
    cut-out (`WHOLE`) gets the forces of its whole atoms; those of others are NaN, and no labels.
    """
    out, whole = atoms.copy(), whole_atoms(atoms)
    if whole is not None:
        if keys.forces is not None and values.forces is not None:
            out.arrays[keys.forces] = np.where(whole[:, None], values.forces, np.nan)
        return out
    if keys.energy is not None and values.energy is not None:
        out.info[keys.energy] = values.energy
    if keys.forces is not None and values.forces is not None:
        out.arrays[keys.forces] = values.forces
    if keys.virial is not None and values.stress is not None and atoms.pbc.all():
        stress = voigt_6_to_full_3x3_stress(values.stress)
        factor = 1.0 if is_stress(keys.virial) else -atoms.get_volume()
        out.info[keys.virial] = np.ravel(factor * stress)
    return out


class LabelStore:
    """Reading and writing of one directory of labels.

    Parameters
    ----------
    directory
        Made where it is needed. On several machines it must be a shared one.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def describe(self, settings: str, identity: Mapping[str, Any]) -> None:
        """Note what a name of settings stands for."""
        path = self.directory / "settings" / f"{settings}.json"
        if not path.exists():
            described = {KEY: str(SETTINGS), **identity}
            write_atomically(path, json.dumps(described, indent=2, sort_keys=True).encode())

    def _place(self, identity: str, settings: str, suffix: str) -> Path:
        """A file of a structure; engines know no initial moments and charges, users do."""
        name = identity if settings == BY_HAND else geometry_id(identity)
        return self.directory / settings / f"{name}{suffix}"

    def path(self, identity: str, settings: str) -> Path:
        """Where the label of a structure lies, once there is one."""
        return self._place(identity, settings, ".extxyz")

    def failure_path(self, identity: str, settings: str) -> Path:
        """Where the record of a failed calculation lies."""
        return self._place(identity, settings, ".failed.json")

    def running(self, identity: str, settings: str) -> Path:
        """Where a calculation runs."""
        return self._place(identity, settings, ".running")

    def output(self, identity: str, settings: str) -> Path:
        """Where the directory of a calculation is kept."""
        return self._place(identity, settings, ".output")

    def claim(self, identity: str, settings: str) -> AbstractContextManager[object]:
        """The right to compute a label, alone; waits for whoever has it."""
        place = self._place(identity, settings, ".lock")
        return locked(place.with_name(f".{place.name}"), wait=True)

    def save(self, label: Label) -> None:
        """Keep a label or the record of a failure; a label is never overwritten."""
        identity = label.structure_id
        path = self.path(identity, label.settings)
        if path.exists():
            return
        if label.values is not None:
            write_atomically(path, label_bytes(label))
            return
        record = {
            KEY: str(FAILURE),
            "reason": label.reason,
            **_facts(label),
            "output": None if label.output is None else str(label.output),
        }
        failed = self.failure_path(identity, label.settings)
        write_atomically(failed, json.dumps(record, indent=2).encode())

    def correct(self, label: Label) -> bool:
        """Put a label by hand in the place of another one or of a failure, if it says otherwise.

        What was there stays beside it, with the next number at the end of its name.

        Returns
        -------
        Whether something was replaced; where nothing was there, nothing is done.
        """
        identity = label.structure_id
        path = self.path(identity, BY_HAND)
        failed = self.failure_path(identity, BY_HAND)
        old = path if path.exists() else failed
        if not old.exists() or (old is failed and not label.ok):
            return False
        if old is path and label.ok and path.read_bytes() == label_bytes(label):
            return False
        number = len(list(old.parent.glob(f"{old.name}.old_*"))) + 1
        old.rename(old.with_name(f"{old.name}.old_{number}"))
        self.save(label)
        return True

    def load(self, identity: str, settings: str) -> ReferenceResult | None:
        """The values of a label; None where there is none.

        Raises
        ------
        StoreError
            If the file is damaged, naming it.
        """
        path = self.path(identity, settings)
        return read_label(path, identity) if path.exists() else None

    def failed(self, identity: str, settings: str) -> bool:
        """Whether a calculation has failed in these settings, and not succeeded since."""
        failed = self.failure_path(identity, settings).exists()
        return failed and not self.path(identity, settings).exists()

    def forget_failure(self, identity: str, settings: str) -> None:
        """Remove the record of a failed calculation, so that it is made again."""
        with self.claim(identity, settings):
            self.failure_path(identity, settings).unlink(missing_ok=True)

    def reason(self, identity: str, settings: str) -> str:
        """Why a calculation failed.

        Raises
        ------
        StoreError
            If the record is damaged, or of a version that cannot be read.
        """
        path = self.failure_path(identity, settings)
        try:
            record = json.loads(path.read_text())
            reason = str(record["reason"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StoreError(
                f"{path}: is damaged ({error}); remove it, and the calculation is made again"
            ) from error
        FAILURE.check(record.get(KEY), path)
        return reason

    def reasons(self, identity: str) -> list[str]:
        """Why a structure's calculations failed, in all settings that were tried."""
        names = {identity, geometry_id(identity)}
        paths = {path for name in names for path in self.directory.glob(f"*/{name}.failed.json")}
        settings = [path.parent.name for path in sorted(paths)]
        return [
            self.reason(identity, s) for s in settings if self.failure_path(identity, s).exists()
        ]

    def wall_s(self, identity: str, settings: str) -> float | None:
        """How long a label took, as its file says; None where there is none, or it does not say."""
        path = self.path(identity, settings)
        if not path.exists():
            return None
        from ..structures.frames import read_frames

        (atoms,) = read_frames(path, apart=False)
        value = atoms.info.get("bayesel_wall_s")
        return float(value) if isinstance(value, int | float) and value > 0 else None

    def counts(self) -> LabelCounts:
        """What lies below the directory; no file is read."""
        counts = Counter(
            kind
            for settings in (os.scandir(self.directory) if self.directory.is_dir() else ())
            if settings.is_dir()
            for entry in os.scandir(settings)
            for kind, suffix in SUFFIXES.items()
            if entry.name.endswith(suffix)
        )
        return LabelCounts(**counts)


def label_bytes(label: Label) -> bytes:
    """A label as it lies on disk: extended XYZ that any training code reads."""
    from ..structures.frames import extxyz_bytes

    assert label.values is not None
    atoms = canonical(label.atoms)
    atoms.arrays.pop(WHOLE, None)  # a label is all that was computed, whoever uses what of it
    if label.settings != BY_HAND:
        for name in STATES:
            atoms.arrays.pop(name, None)  # that the engine has not seen
    if label.values.energy is not None:
        atoms.info[REF_ENERGY] = label.values.energy
    if label.values.stress is not None:
        atoms.info[REF_STRESS] = np.ravel(voigt_6_to_full_3x3_stress(label.values.stress))
    if label.values.forces is not None:
        atoms.arrays[REF_FORCES] = label.values.forces
    facts = {KEY: str(LABEL), **_facts(label), "version": label.values.version}
    plain = {f"bayesel_{key}": _plain(value) for key, value in facts.items()}
    atoms.info.update({k: v for k, v in plain.items() if v != ""})  # or the next one is its value
    return extxyz_bytes([atoms])


def _plain(value: Any) -> Any:
    """Text without what would end it early in the comment line of extended XYZ."""
    return re.sub(r'[\s"\\]+', " ", value).strip() if isinstance(value, str) else value


def _facts(label: Label) -> dict[str, Any]:
    return {
        "engine": label.engine,
        "settings": label.settings,
        "rung": label.attempt,
        "wall_s": round(label.wall_s, 3),
        "host": label.host,
    }


def read_label(path: Path, identity: str) -> ReferenceResult:
    """The values in a file that `label_bytes` gave.

    Raises
    ------
    StoreError
        If it is damaged, the label of another structure, or of a version that cannot be read.
    """
    from ..structures.frames import read_frames

    try:
        (atoms,) = read_frames(path, apart=False)
        LABEL.check(atoms.info.get(f"bayesel_{KEY}"), path)
        values = targets(atoms, STORED_KEYS, str(path))
        stress = atoms.info.get(REF_STRESS)
        stress = None if stress is None else full_3x3_to_voigt_6_stress(np.reshape(stress, (3, 3)))
    except (StructureError, ValueError, TypeError) as error:
        raise StoreError(f"{path}: is damaged ({error}); {MEND}") from error
    if structure_id(atoms) not in (identity, geometry_id(identity)):
        raise StoreError(f"{path}: holds another structure than its name says; {MEND}")
    return ReferenceResult(
        values.energy, values.forces, stress, str(atoms.info.get("bayesel_version", ""))
    )


MEND = "restore it from a backup, or move it away, and the label is computed again"
