"""Calculators that do wrong on purpose: EMT, from some evaluation on with a fault."""

import os
import subprocess
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import voigt_6_to_full_3x3_stress
from ase.units import GPa, Hartree


class Panic(BaseException):
    """What some extensions raise: no Exception at all."""


class Mute(Exception):
    """An exception whose message cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


RAISED = {
    "runtime": lambda: RuntimeError("no licence"),
    "bare": lambda: Exception("no licence"),
    "key": lambda: KeyError("no licence"),
    "attribute": lambda: AttributeError("no licence"),
    "assertion": lambda: AssertionError("no licence"),
    "stop": lambda: StopIteration("no licence"),
    "exit": lambda: SystemExit("no licence"),
    "exit-code": lambda: SystemExit(3),
    "panic": lambda: Panic("no licence"),
    "mute": Mute,
    "long": lambda: ValueError("no licence " + "x" * 3_000_000),
    "odd-text": lambda: ValueError("no licence \0 \udcff \x1b[31m\nsecond line"),
    "memory": lambda: MemoryError("no licence"),
    "not-implemented": lambda: NotImplementedError("no licence"),
    "group": lambda: BaseExceptionGroup("no licence", [Panic("inner")]),
}


def _set(name, value):
    def change(calculator, atoms):
        if calculator.results[name] is not None:  # there is no stress without three directions
            calculator.results[name] = value(calculator.results, atoms)

    return change


def _drop(name):
    def change(calculator, atoms):
        del calculator.results[name]

    return change


def _move(calculator, atoms):
    atoms.positions += 0.1


def _exchange(calculator, atoms):
    atoms.numbers[:] = atoms.numbers[::-1]


def _strain(calculator, atoms):
    atoms.set_cell(1.01 * atoms.cell.array)


def _open(calculator, atoms):
    atoms.pbc = False


def _remove(calculator, atoms):
    del atoms[-1]


WRONG = {
    "energy-none": _set("energy", lambda r, a: None),
    "energy-text": _set("energy", lambda r, a: "low"),
    "energy-complex": _set("energy", lambda r, a: complex(r["energy"], 0.0)),
    "energy-per-atom": _set("energy", lambda r, a: np.full(len(a), r["energy"])),
    "energy-boolean": _set("energy", lambda r, a: True),
    "energy-masked": _set("energy", lambda r, a: np.ma.masked_array([r["energy"]], [True])),
    "energy-missing": _drop("energy"),
    "forces-none": _set("forces", lambda r, a: None),
    "forces-scalar": _set("forces", lambda r, a: 0.0),
    "forces-row": _set("forces", lambda r, a: r["forces"][:1]),
    "forces-flat": _set("forces", lambda r, a: r["forces"].ravel()),
    "forces-turned": _set("forces", lambda r, a: r["forces"].T),
    "forces-batch": _set("forces", lambda r, a: r["forces"][None]),
    "forces-complex": _set("forces", lambda r, a: r["forces"] + 0j),
    "forces-objects": _set("forces", lambda r, a: r["forces"].astype(object)),
    "forces-ragged": _set("forces", lambda r, a: [[0.0], [0.0, 0.0]]),
    "forces-text": _set("forces", lambda r, a: r["forces"].astype(str)),
    "forces-masked": _set(
        "forces", lambda r, a: np.ma.masked_array(r["forces"], np.eye(len(a), 3))
    ),
    "forces-missing": _drop("forces"),
    "stress-scalar": _set("stress", lambda r, a: 0.0),
    "stress-diagonal": _set("stress", lambda r, a: r["stress"][:3]),
    "stress-flat": _set("stress", lambda r, a: np.zeros(9)),
    "stress-lopsided": _set("stress", lambda r, a: np.arange(9.0).reshape(3, 3)),
    "stress-complex": _set("stress", lambda r, a: r["stress"] + 0j),
    "moved": _move,
    "exchanged": _exchange,
    "strained": _strain,
    "opened": _open,
    "removed": _remove,
}
ABSURD = {
    "energy-1e300": _set("energy", lambda r, a: 1e300),
    "energy-negative": _set("energy", lambda r, a: -1e12),
    "forces-1e200": _set("forces", lambda r, a: 1e200 * np.sign(r["forces"])),
    "forces-one-1e7": _set("forces", lambda r, a: np.where(np.eye(len(a), 3), 1e7, 0.0)),
    "stress-1e300": _set("stress", lambda r, a: np.full(6, 1e300)),
    "stress-1e7": _set("stress", lambda r, a: np.full(6, 1e7)),
}
NOT_FINITE = {
    "energy-nan": _set("energy", lambda r, a: np.nan),
    "energy-inf": _set("energy", lambda r, a: np.inf),
    "forces-nan": _set("forces", lambda r, a: np.full((len(a), 3), np.nan)),
    "forces-one-inf": _set("forces", lambda r, a: np.where(np.eye(len(a), 3), np.inf, 0.0)),
}
HARMLESS = {
    "energy-array": _set("energy", lambda r, a: np.array([r["energy"]])),
    "energy-0d": _set("energy", lambda r, a: np.array(r["energy"])),
    "energy-float32": _set("energy", lambda r, a: np.float64(np.float32(r["energy"]))),
    "forces-unmasked": _set("forces", lambda r, a: np.ma.masked_array(r["forces"])),
    "forces-list": _set("forces", lambda r, a: r["forces"].tolist()),
    "forces-float32": _set("forces", lambda r, a: r["forces"].astype(np.float32)),
    "stress-3x3": _set("stress", lambda r, a: voigt_6_to_full_3x3_stress(r["stress"])),
    "stress-list": _set("stress", lambda r, a: r["stress"].tolist()),
    "extra": _set("node_energy_of_mine", lambda r, a: np.zeros(len(a))),
    "extra-odd": _set("descriptors", lambda r, a: {"a": object()}),
}
UNITS = {
    "stress-GPa": _set("stress", lambda r, a: r["stress"] / GPa),
    "stress-kbar": _set("stress", lambda r, a: 10 * r["stress"] / GPa),
    "stress-bar": _set("stress", lambda r, a: 1e4 * r["stress"] / GPa),
    "stress-sign": _set("stress", lambda r, a: -r["stress"]),
    "stress-virial": _set("stress", lambda r, a: -r["stress"] * a.get_volume()),
    "stress-minus-GPa": _set("stress", lambda r, a: -r["stress"] / GPa),
    "forces-sign": _set("forces", lambda r, a: -r["forces"]),
    "forces-Hartree": _set("forces", lambda r, a: r["forces"] / Hartree),
    "energy-Hartree": _set("energy", lambda r, a: r["energy"] / Hartree),
    "forces-zero": _set("forces", lambda r, a: 0 * r["forces"]),
    "stress-zero": _set("stress", lambda r, a: 0 * r["stress"]),
}
FAULTS = WRONG | ABSURD | NOT_FINITE | HARMLESS | UNITS


class FaultyEMT(EMT):
    """EMT that raises or spoils its results, from evaluation ``after`` on."""

    def __init__(self, fault: str = "", after: int = 0, symbol: str = "") -> None:
        super().__init__()
        self.fault, self.after, self.symbol, self.calls = fault, after, symbol, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if self.calls <= self.after or (self.symbol and self.symbol not in atoms.symbols):
            return
        if self.fault in RAISED:
            raise RAISED[self.fault]()
        if self.fault == "interrupt":
            raise KeyboardInterrupt("of a library")
        if self.fault:
            missing = {"stress": None, "descriptors": 0, "node_energy_of_mine": 0}
            self.results = missing | self.results
            FAULTS[self.fault](self, atoms)
            if self.fault.startswith("energy"):
                self.results.pop("free_energy", None)


class DyingEMT(EMT):
    """EMT that fails as long as a file is there: from an evaluation on, or for some formulas."""

    def __init__(self, file: str, after: int = 0, symbols: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.file, self.after, self.symbols, self.calls = Path(file), after, symbols, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        if self.file.exists():
            self.calls += 1
            chosen = not self.symbols or atoms.get_chemical_formula() in self.symbols
            if chosen and self.calls > self.after:
                raise RuntimeError("no licence")
        super().calculate(atoms, properties, system_changes)


class LeavingEMT(EMT):
    """EMT that leaves a process behind, in a session of its own, whose id is written down.

    With ``hangs`` it never comes back.
    """

    def __init__(self, note: str, hangs: bool = False) -> None:
        super().__init__()
        self.note, self.hangs = Path(note), hangs

    def calculate(self, *arguments, **named) -> None:
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        self.note.write_text(str(child.pid))
        if self.hangs:
            time.sleep(600.0)
        super().calculate(*arguments, **named)


class EndlessEMT(EMT):
    """EMT that never comes back, with a child; the ids of both are written down."""

    def __init__(self, note: str, busy: bool = False) -> None:
        super().__init__()
        self.note, self.busy = Path(note), busy

    def calculate(self, *arguments, **named) -> None:
        child = subprocess.Popen(["sleep", "600"])
        self.note.write_text(f"{os.getpid()} {child.pid}")
        while True:
            if not self.busy:
                time.sleep(600.0)


class StuckEMT(EMT):
    """EMT that gives the results of its first structure again and again, after a note of them."""

    def __init__(self, note: str, at_rest: bool = False) -> None:
        super().__init__()
        self.note, self.at_rest = Path(note), at_rest

    def calculate(self, *arguments, **named) -> None:
        super().calculate(*arguments, **named)
        if not self.note.exists():
            kept = {name: self.results[name] for name in ("energy", "forces")}
            np.savez(self.note, **{name: 0 * v if self.at_rest else v for name, v in kept.items()})
        with np.load(self.note) as kept:
            self.results["energy"] = self.results["free_energy"] = float(kept["energy"])
            self.results["forces"] = kept["forces"]


class NoStress(Calculator):
    """EMT without a stress."""

    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        inner = EMT()
        self.results = {
            name: inner.get_property(name, atoms.copy()) for name in ("energy", "forces")
        }


def returns_none(**parameters):
    """A factory without a return."""


def returns_a_class(**parameters):
    """A factory that forgets to call."""
    return EMT


def returns_text(**parameters):
    """A factory of something else."""
    return "EMT"


def of_other_atoms():
    """A calculator that knows one structure, and it is another one."""
    return SinglePointCalculator(Atoms("Cu"), energy=1.0)


def wants_a_model(model):
    """A factory whose argument is not given."""
    return EMT()


def ends_the_process(**parameters):
    """A factory that gives up."""
    raise SystemExit("no licence")


AN_INSTANCE = EMT()
