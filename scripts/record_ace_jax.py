"""What ace-jax gives for our basis and for the models that we write: tests/data/ace_jax.json.

    python scripts/record_ace_jax.py            # records
    python scripts/record_ace_jax.py --table    # largest differences, as docs/cross_checks.md shows

It needs ``pip install ace-jax`` in an environment that has this package too. The basis is ace-jax's
own: its couplings (EquivariantTensors), its choice of functions where it is ours, its harmonics,
polynomials, Agnesi coordinates and envelopes in the form of ACE1, without its splines.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.ace_models import MODELS, RECORDED, structures, surrogate

from ase_bayesel.descriptors.ace.basis import EXTRA_RADIALS
from ase_bayesel.descriptors.ace.radial import length_scales
from ase_bayesel.surrogate.exchange import write_ace_model

N_ATOMS = 2
"""So many atoms of a crystal have their basis functions recorded."""


def basis_values(atoms: Atoms, elements, order, totaldegree, cutoff, scales) -> tuple[list, list]:
    """Labels ``[[l, species, n], ..]`` and values ``(N_ATOMS, B)`` of ace-jax's own functions."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from ace_jax.basis import radial_ace1, radial_init
    from ace_jax.basis.coupling import couple
    from ace_jax.basis.spec import build_spec
    from ace_jax.eval.harmonics import real_spherical_harmonics

    n = len(elements)
    bodies, radials, harmonics = build_spec(n, order, totaldegree)
    nmax = totaldegree + EXTRA_RADIALS
    singles = [((k - 1) * n + z + 1, 0) for z in range(n) for k in range(1, nmax + 1)]
    radials = sorted({*radials, *singles}, key=lambda radial: (radial[1], radial[0]))
    bodies = [[single] for single in singles] + sorted((b for b in bodies if len(b) > 1), key=len)
    coupling = couple(bodies, radials, harmonics)
    first, second, vectors = neighbor_list("ijD", atoms, cutoff)
    species = np.array([elements.index(symbol) for symbol in atoms.symbols])
    lmax = max(degree for degree, _ in harmonics)
    angular = np.asarray(real_spherical_harmonics(jax.numpy.asarray(vectors), lmax))
    recursion = radial_ace1.jacobi_3term(nmax, 4.0, 4.0)
    table = np.zeros((len(vectors), nmax))
    for edge, vector in enumerate(vectors):
        pair = tuple(sorted((species[first[edge]], species[second[edge]])))
        transform = radial_init.agnesi_transform_params(0.0, scales[pair], cutoff, 2, 4)
        r = np.array([np.linalg.norm(vector)])
        x = radial_init.agnesi_normalized(r, transform)
        envelope = radial_init.envelope2sx_eval(r, x, radial_init.envelope2sx_params())
        table[edge] = envelope * radial_init.poly_eval(x, *recursion)[0]
    columns = np.stack(
        [table[:, (k - 1) // n] * (species[second] == (k - 1) % n) for k, _ in radials]
    )
    edges = np.stack([columns[radial] * angular[:, y] for radial, y in coupling.aspec])
    one = np.zeros((len(coupling.aspec), len(atoms)))
    np.add.at(one.T, first, edges.T)
    products = np.concatenate([one[rows].prod(axis=1) for rows in coupling.aa_specs])
    labels = [
        sorted([degree, (k - 1) % n, (k - 1) // n + 1] for k, degree in body)
        for body in coupling.nnll_spec
    ]
    return labels, (coupling.A2B @ products)[:, :N_ATOMS].T.tolist()


def model_values(model) -> dict[str, list]:
    """Energies and forces that ace-jax gives for a surrogate in both formats."""
    from ace_jax import ACECalculator

    found: dict[str, list] = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".npz", ".yace"):
            write_ace_model(model, path := Path(folder) / f"model{suffix}")
            calculator = ACECalculator(str(path))
            found[suffix] = []
            for atoms in structures(list(model.descriptor.elements)):
                atoms.calc = calculator
                energy, forces = atoms.get_potential_energy(), atoms.get_forces()
                found[suffix].append({"energy": float(energy), "forces": forces.tolist()})
    return found


def record() -> dict:
    """Everything that the file holds."""
    cases = {}
    for name, settings in MODELS.items():
        model = surrogate(*settings)
        descriptor = model.descriptor
        scales = length_scales(descriptor.elements, descriptor.r0)
        labels, values = basis_values(
            structures(settings[0])[0], *settings, descriptor.cutoff, scales
        )
        cases[name] = {"functions": labels, "values": values, "models": model_values(model)}
    return {"ace_jax": version("ace-jax"), "cases": cases}


def table() -> None:
    """The largest differences between ace-jax and this package."""
    recorded = json.loads(RECORDED.read_text())
    print(f"ace-jax {recorded['ace_jax']}\n")
    print("| model | file | energy (eV) | forces (eV/A) |\n|---|---|---|---|")
    for name, settings in MODELS.items():
        calculator = surrogate(*settings).calculator()
        for suffix, results in recorded["cases"][name]["models"].items():
            worst = np.zeros(2)
            for atoms, result in zip(structures(settings[0]), results, strict=True):
                atoms.calc = calculator
                energy = abs(atoms.get_potential_energy() - result["energy"])
                forces = np.abs(atoms.get_forces() - result["forces"]).max()
                worst = np.maximum(worst, [energy, forces])
            print(f"| {name} | `{suffix}` | {worst[0]:.0e} | {worst[1]:.0e} |")


if __name__ == "__main__":
    if sys.argv[1:] == ["--table"]:
        table()
    else:
        RECORDED.write_text(json.dumps(record()) + "\n")
