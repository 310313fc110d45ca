"""Wrappers, and calculators that configs of the tests name."""

import os
import signal
import time
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT


class Opaque(Calculator):
    """Another calculator behind a type that nobody recognises; stress only when asked for."""

    implemented_properties = ["energy", "forces", "stress"]

    def __init__(self, inner: Calculator) -> None:
        super().__init__()
        self.inner = inner

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        wanted = {"energy", "forces", *properties}
        self.results = {p: self.inner.get_property(p, self.atoms) for p in wanted}


class CountingEMT(EMT):
    """Notes the positions of every structure that it really computes, one line each."""

    def __init__(self, log: str, delay_s: float = 0.0) -> None:
        super().__init__()
        self.log, self.delay_s = log, delay_s

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        with open(self.log, "a") as handle:
            handle.write(atoms.positions.tobytes().hex() + "\n")
        time.sleep(self.delay_s)
        super().calculate(atoms, properties, system_changes)


class WaitingEMT(CountingEMT):
    """Waits until a file is there, two minutes at most."""

    def __init__(self, log: str, file: str) -> None:
        super().__init__(log)
        self.file = Path(file)

    def calculate(self, *args, **kwargs) -> None:
        end = time.monotonic() + 120.0
        while not self.file.exists():
            if time.monotonic() > end:
                raise TimeoutError(f"nobody made {self.file}")
            time.sleep(0.02)
        super().calculate(*args, **kwargs)


class FragileEMT(EMT):
    """Fails for CuAl, half of the structures of `alloy_cells`."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        if atoms.symbols.count("Al") == 2:
            raise RuntimeError("the SCF cycle did not converge")
        super().calculate(atoms, properties, system_changes)


class EMTButFor(EMT):
    """Fails for structures of so many atoms."""

    def __init__(self, fails: list[int]) -> None:
        super().__init__()
        self.fails = fails

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        if len(atoms) in self.fails:
            raise RuntimeError(f"{len(atoms)} atoms are too many")
        super().calculate(atoms, properties, system_changes)


def no_such_engine_works() -> Calculator:
    """A factory that fails for every structure."""
    raise RuntimeError("no licence")


def emt_once_there_is(file: str) -> Calculator:
    """A factory that fails until a file is there."""
    if not Path(file).exists():
        raise RuntimeError(f"no file {file}")
    return EMT()


class ScaledEMT(EMT):
    """EMT times the number in its model file: a potential of another package."""

    def __init__(self, model: str) -> None:
        super().__init__()
        with open(model) as handle:
            self.scale = float(handle.read())

    def calculate(self, *args, **kwargs) -> None:
        super().calculate(*args, **kwargs)
        for key in ("energy", "free_energy", "forces", "stress"):
            self.results[key] = self.results[key] * self.scale


class DeadlyEMT(CountingEMT):
    """Kills its process, unless it is told to be harmless."""

    def __init__(self, log, harmless=False):
        super().__init__(log)
        self.harmless = harmless

    def calculate(self, *args, **kwargs):
        if not self.harmless:
            os.kill(os.getpid(), signal.SIGKILL)
        super().calculate(*args, **kwargs)


class FreeEnergyEMT(EMT):
    """EMT with a free energy that differs from the energy, as with smearing."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["free_energy"] = -3.0


def failing_emt(fails):
    """EMT, or a calculator that cannot do anything."""
    if fails:
        raise RuntimeError("the [engine] is broken")
    return EMT()


def nan_emt():
    """A calculator whose energy is not finite."""
    calculator = EMT()
    compute = calculator.calculate

    def calculate(*arguments):
        compute(*arguments)
        calculator.results["energy"] = calculator.results["free_energy"] = np.nan

    calculator.calculate = calculate
    return calculator


class ChargedEMT(EMT):
    """EMT, and 0.1 eV for each charge of the structure."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        for name in ("energy", "free_energy"):
            self.results[name] = self.results[name] + 0.1 * atoms.info.get("charge", 0)


class OfTheCharge(Calculator):
    """An energy of as many eV as the structure has charge, as it finds that in ``info``."""

    implemented_properties = ["energy", "forces", "stress"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        self.results = {"energy": float(atoms.info.get("charge", 0))}


class Stiffer(EMT):
    """Forces that are a tenth too large, and energies so with them."""

    def calculate(self, *arguments):
        super().calculate(*arguments)
        self.results = {name: 1.1 * np.asarray(value) for name, value in self.results.items()}
