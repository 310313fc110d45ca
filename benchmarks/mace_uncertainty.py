"""Force uncertainties with MACE features: what they cost over a bare step, how far off they are.

    python benchmarks/mace_uncertainty.py [--atoms 8 64] [--training 100] [--device cuda]

A two-layer model of silicon's size (64x0e+64x1o, radius 5 A, D = 128) is trained on EMT
copper for some steps of Adam; the posterior holds energies and forces of the training set.
Structures come from plain and biased MD at three temperatures. "Bare" is mace's own
calculator: energy, forces, stress. Times are CPU seconds of one thread, on a GPU those of
the wall.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from _timing import clock_of, interleaved, machine_line, markdown_table, use_one_thread

CHUNK = 10
"""MD steps in turn; also the interval at which the trigger is checked."""
DISTANCES = (1.5, 3.0)
"""Threshold of the trigger over the largest criterion of an earlier stretch."""
FORCE_ROWS = 6
MD = ((300.0, 0.0), (1000.0, 0.0), (2500.0, 0.0), (300.0, 0.5), (1000.0, 1.0))
"""Temperature (K) and tau_rel."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--training", type=int, default=100, help="steps of Adam")
    parser.add_argument("--md-steps", type=int, default=30, help="MD steps for two structures")
    parser.add_argument("--device", default="cpu", help="of PyTorch, such as cuda")
    parser.add_argument("--chunks", type=int, default=10, help=f"turns of {CHUNK} MD steps")
    parser.add_argument("--pilot", type=int, default=10 * CHUNK, help="MD steps before the turns")
    parser.add_argument("--seeds", type=int, default=10, help="searches for each structure")
    parser.add_argument("--slot", type=float, default=0.1, help="seconds of a turn, at least")
    options = parser.parse_args(arguments)
    use_one_thread()

    import torch

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    torch.set_num_threads(1)
    print(machine_line(options.device), flush=True)
    setting = prepare(options)
    header, shown = ["atoms", "what", "found", "target", "met"], 0
    for n_atoms in options.atoms:
        for measure in (evaluations, amortised, picks):
            for row in measure(setting, n_atoms, options):
                lines = markdown_table(header, [[n_atoms, *row]]).splitlines()
                print(*lines[shown:], sep="\n", flush=True)
                shown = 2


@dataclass(frozen=True)
class Setting:
    """A trained model and the surrogate on its features."""

    calculator: Callable
    surrogate: object
    clock: Callable[[], float]


def prepare(arguments) -> Setting:
    """Train the model, then fit the surrogate to the same structures."""
    import numpy as np
    from helpers.mace_models import mace_calculator, trained_mace
    from helpers.structures import emt_labelled

    from ase_bayesel import MACEDescriptor, fit_surrogate

    rng = np.random.default_rng(0)
    frames = []
    for amplitude in (0.05, 0.1, 0.15, 0.2):
        for strain in (-0.04, 0.0, 0.04):
            atoms = copper(8)
            atoms.set_cell(atoms.cell.array * (1.0 + strain), scale_atoms=True)
            atoms.positions += rng.normal(0.0, amplitude, atoms.positions.shape)
            frames.append(emt_labelled(atoms))
    irreps = f"{arguments.channels}x0e+{arguments.channels}x1o"
    sizes = {"irreps": irreps, "cutoff": 5.0, "correlation": 3, "radial": (64, 64, 64)}
    device = arguments.device
    model, losses = trained_mace(frames, n_steps=arguments.training, device=device, **sizes)
    descriptor = MACEDescriptor(mace_calculator(model, device=device))
    print(
        f"MACE {irreps}, r = 5 A, D = {descriptor.n_features}, float64; "
        f"loss from {losses[0]:.3g} to {losses[-1]:.3g}\n",
        flush=True,
    )
    surrogate = fit_surrogate(frames, descriptor, e0s="average")
    return Setting(lambda: mace_calculator(model, device=device), surrogate, clock_of(device))


def copper(n_atoms: int):
    """fcc copper, 8, 64 or 216 atoms."""
    from ase.build import bulk

    k = round((n_atoms / 8) ** (1 / 3))
    atoms = bulk("Cu", cubic=True) * (k, k, 2 * k)
    if len(atoms) != n_atoms:
        raise SystemExit(f"--atoms: {n_atoms} is not 8, 64, 216, ...")
    return atoms


def walker(setting: Setting, n_atoms: int, temperature_K: float, tau_rel: float, **options):
    """A walker that no guard stops."""
    import numpy as np

    from ase_bayesel import BiasedCalculator, Guards, run_walker

    strength = {"tau_rel": tau_rel} if tau_rel else {"tau": 0.0}
    start = copper(n_atoms)
    start.rattle(0.05, seed=1)
    return run_walker(
        start,
        BiasedCalculator(setting.calculator(), setting.surrogate, **strength),
        n_steps=options.pop("n_steps", 10**6),
        temperature_K=temperature_K,
        rng=np.random.default_rng(3),
        timestep_fs=2.0,
        guards=Guards(max_force=None, max_temperature_K=None, close_contact=0.2),
        **options,
    )


# evaluations


def evaluations(setting: Setting, n_atoms: int, arguments) -> Iterator[list[object]]:
    """Price and error of one evaluation against the exact one."""
    import numpy as np

    from ase_bayesel.surrogate.force_uncertainty import ForceSearch

    surrogate = setting.surrogate
    descriptor, posterior = surrogate.descriptor, surrogate.posterior
    errors: dict[str, list[float]] = {"relative force": [], "force": []}
    for temperature_K, tau_rel in MD:
        for step in walker(setting, n_atoms, temperature_K, tau_rel, n_steps=arguments.md_steps):
            if step.step == 0 or step.step % (arguments.md_steps // 2):
                continue
            stored = Stored(descriptor.compute([step.atoms], derivatives=True)[0])
            exact = np.sqrt(posterior.variance(stored.rows).reshape(-1, 3).sum(axis=1))
            relative = np.linalg.norm(step.prediction.forces, axis=1) + 0.2
            for name, scales in (("relative force", relative), ("force", np.ones(n_atoms))):
                for seed in range(arguments.seeds):
                    atoms = step.atoms.copy()
                    atoms.positions += 1e-6 * seed  # other random directions
                    atom, force_std = ForceSearch()(stored, posterior, atoms, scales)
                    errors[name].append(force_std / scales[atom] / (exact / scales).max())
    atoms, scales = step.atoms, np.ones(n_atoms)
    bare = setting.calculator()
    calls = {
        "bare": moved(atoms, bare.get_forces),
        "search": moved(atoms, lambda a: ForceSearch()(descriptor, posterior, a, scales)),
    }
    times = interleaved(calls, rounds=5, slot_s=arguments.slot, clock=setting.clock)
    search = times["search"] / times["bare"]
    yield ["search / bare", search, 9, met(search <= 9)]
    for name, found in errors.items():
        ratio = np.array(found)
        within = float(np.mean(ratio >= 0.95))
        text = (
            f"median {np.median(ratio):.3f}, 5th percentile {np.percentile(ratio, 5):.3f}, "
            f"worst {ratio.min():.3f}; within 5%: {within:.0%} of {len(ratio)}"
        )
        yield [f"search / exact, {name}", text, "within 5%", met(within >= 0.95)]


class Stored:
    """A pass whose Jacobian is known, which stands for the network and costs nothing."""

    def __init__(self, features) -> None:
        self.phi, self._jacobian = features.total, features.jacobian
        self.rows = features.jacobian.transpose(1, 2, 0).reshape(-1, len(self.phi))

    def forward(self, atoms):
        return self

    def gradient(self, energy_weight, cotangent, last=False):
        from ase_bayesel.descriptors.base import Gradient

        return Gradient((self.rows @ cotangent).reshape(-1, 3), None)

    def pushforward(self, moves):
        return moves.reshape(len(moves), -1) @ self.rows


def moved(atoms, function: Callable) -> Callable[[], object]:
    """A call on a structure that nothing can answer from its memory."""
    atoms = atoms.copy()

    def call() -> object:
        atoms.positions[0, 0] += 1e-7
        return function(atoms)

    return call


def met(good: bool) -> str:
    return "yes" if good else "no"


# molecular dynamics


def amortised(setting: Setting, n_atoms: int, arguments) -> Iterator[list[object]]:
    """Walkers with and without a trigger against plain MD, all in turns."""
    import numpy as np

    from ase_bayesel import RelativeForceTrigger

    pilot = walker(
        setting,
        n_atoms,
        600.0,
        0.3,
        n_steps=arguments.pilot,
        check_interval=CHUNK,
        triggers=[RelativeForceTrigger(1e9)],
        lazy=False,
    )
    largest = max(report.value for step in pilot for report in step.reports)
    options = {"temperature_K": 600.0, "tau_rel": 0.3, "check_interval": CHUNK}
    walkers = {"no trigger": walker(setting, n_atoms, **options)}
    for far in DISTANCES:
        triggers = [RelativeForceTrigger(far * largest)]
        walkers[far] = walker(setting, n_atoms, triggers=triggers, **options)
    walkers["always"] = walker(setting, n_atoms, triggers=triggers, lazy=False, **options)
    evaluated: dict[object, list[bool]] = {name: [] for name in walkers}
    seconds: dict[object, list[float]] = {name: [] for name in ("bare", *walkers)}
    plain = plain_dynamics(setting, n_atoms)
    for _ in range(arguments.chunks + 1):
        start = setting.clock()
        for _ in range(CHUNK):
            next(plain)
        seconds["bare"].append(setting.clock() - start)
        for name, steps in walkers.items():
            start = setting.clock()
            reports = [next(steps).reports for _ in range(CHUNK)]
            seconds[name].append(setting.clock() - start)
            evaluated[name].append(any(reports))
    mean = {name: float(np.mean(found[1:])) for name, found in seconds.items()}
    yield ["run_walker without trigger / plain MD", mean["no trigger"] / mean["bare"], "", ""]
    trigger = (mean["always"] - mean["no trigger"]) / mean["bare"]
    yield [f"trigger at every {CHUNK}th step, per step / bare", trigger, "", ""]
    for far in DISTANCES:
        lazily = (mean[far] - mean["no trigger"]) / mean["bare"]
        share = np.mean(evaluated[far][1:])
        text = f"{lazily:.2f} ({share:.0%} of the checks evaluated)"
        title = f"the same, lazy, threshold {far} times the usual criterion"
        yield [title, text, 0.25, met(lazily <= 0.25)]
        total = mean[far] / mean["bare"]
        target, good = (1.3, met(total <= 1.3)) if n_atoms >= 64 else ("", "")
        yield ["run_walker, all of this included / plain MD", total, target, good]


def plain_dynamics(setting: Setting, n_atoms: int) -> Iterator[bool]:
    """ASE's Langevin dynamics with mace's own calculator."""
    import numpy as np
    from ase import units
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import thermalize_momenta

    atoms = copper(n_atoms)
    atoms.rattle(0.05, seed=1)
    atoms.calc = setting.calculator()
    rng = np.random.default_rng(3)
    thermalize_momenta(atoms, temperature_K=600.0, rng=rng)
    dynamics = Langevin(
        atoms, 2.0 * units.fs, temperature_K=600.0, friction=0.01 / units.fs, fixcm=False, rng=rng
    )
    return dynamics.irun(10**6)


# picks


def picks(setting: Setting, n_atoms: int, arguments) -> Iterator[list[object]]:
    """Price of adding a picked structure, and what it leaves of its uncertainty."""
    import numpy as np

    surrogate = setting.surrogate
    *_, last = walker(setting, n_atoms, 2500.0, 0.0, n_steps=arguments.md_steps)
    bare, atoms = setting.calculator(), last.atoms
    calls = {
        "bare": moved(atoms, bare.get_forces),
        "exact": moved(atoms, surrogate.condition),
        "few": moved(atoms, lambda a: surrogate.condition(a, force_rows=FORCE_ROWS)),
    }
    times = interleaved(calls, rounds=2, slot_s=arguments.slot, clock=setting.clock)
    features = surrogate.descriptor.compute([atoms], derivatives=True)[0]
    rows = features.jacobian.transpose(1, 2, 0).reshape(-1, len(features.total))

    def left(known) -> str:
        std = np.sqrt(known.posterior.variance(rows).reshape(-1, 3).sum(axis=1)).max()
        gain = known.posterior.logdet - surrogate.posterior.logdet
        return f"largest force std {std:.3g} eV/A, log det +{gain:.3g}"

    yield ["before a pick", left(surrogate), "", ""]
    for name, options in (("exact", {}), ("few", {"force_rows": FORCE_ROWS})):
        ratio = times[name] / times["bare"]
        title = "all rows" if name == "exact" else f"force_rows={FORCE_ROWS}"
        known = surrogate.condition(atoms, **options)
        good = "" if name == "exact" else met(ratio <= 10)
        target = "" if name == "exact" else 10
        yield [f"adding a pick, {title} / bare", f"{ratio:.1f}; {left(known)}", target, good]


if __name__ == "__main__":
    main()
