"""Check linear ACE fitted to the silicon set of 2018, and write docs/validation.md from it.

    OMP_NUM_THREADS=1 python scripts/silicon_phonons.py --data data/si2018

The model is that of silicon_fit.py (order 3, total degree 16, all 676 structures). It
is fitted here, or read from ``--model``, what `silicon_fit.py --save` wrote. The exit
status is 1 if a mode is imaginary.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from silicon_fit import DFT, FACETS, FILES, fit

from ase_bayesel import Surrogate
from ase_bayesel.cli.check import CheckConfig, CheckReport, run_check
from ase_bayesel.structures.frames import read_frames
from ase_bayesel.validation import draw_bands

DOCS = Path(__file__).resolve().parent.parent / "docs"
PICTURE = "phonons_silicon.png"
NOISE_THZ = 1e-3
"""The acoustic modes at Gamma are this close to zero."""

CONFIG = CheckConfig.model_validate(
    {
        "crystal": {"name": "Si", "a": 5.43},
        "surfaces": [vars(facet) for facet in FACETS],
        "phonons": {
            "supercell": (4, 4, 4),
            "path": "GXU,KGL",
            "points": 161,
            "qpoints": {
                "G-X/2": (0.25, 0.0, 0.25),
                "G-K/2": (0.1875, 0.1875, 0.375),
                "G-L/2": (0.25, 0.25, 0.25),
            },
        },
        "references": {name.removesuffix(" (J/m^2)"): value for name, value in DFT.items()},
        "members": 200,
    }
)

PAGE = """# Bulk silicon from linear ACE, with error bars

`scripts/silicon_phonons.py` wrote this page: what `bayesel check` computes, for linear ACE
(order 3, total degree 16, {n_features} features) fitted to all 676 structures of the silicon set.
Standard deviations are over {members} members of the posterior, those of surface energies from
its covariance. DFT values are those of the set's authors.

{quantities}

Phonons by finite displacements in a 4x4x4 supercell of the primitive cell, at the lattice
constant of the mean. Frequencies in THz, standard deviations in brackets; modes of equal
frequency once. The lowest frequency along the path is {lowest:.4f} THz: no mode is imaginary.

{phonons}

![phonon bands of silicon]({picture})

The error bars say how far 676 structures leave the coefficients open under the noise that the fit
assumes. With a hundred thousand force components for {n_features} coefficients that is little. They
do not contain the error of the model's form, which is larger here: compare the standard deviation
of a surface energy with its deviation from DFT.
"""


def quantity_table(report: CheckReport) -> str:
    """Scalar results as a markdown table."""
    lines = ["| quantity | value | std | DFT | unit |", "|---|---|---|---|---|"]
    for quantity in report.quantities:
        numbers = f"{quantity.value:.5g} | {quantity.std:.2g}"
        reference = report.references.get(quantity.name, "")
        lines.append(f"| {quantity.name} | {numbers} | {reference} | {quantity.unit} |")
    return "\n".join(lines)


def phonon_table(report: CheckReport) -> str:
    """Frequencies at the named q-points as a markdown table."""
    assert report.bands is not None
    named = report.bands.named
    lines = ["| q-point | coordinates | frequencies (std) |", "|---|---|---|"]
    for name, q, values, std in zip(
        report.bands.names, named.qpoints, named.values, named.std, strict=True
    ):
        entries = [f"{abs(v):.2f} ({s:.3f})" for v, s in zip(values, std, strict=True)]
        place = " ".join(f"{x:g}" for x in q)
        lines.append(f"| {name} | {place} | {', '.join(dict.fromkeys(entries))} |")
    return "\n".join(lines)


def main() -> int:
    options = _parser().parse_args()
    if options.model:
        surrogate = Surrogate.load(options.model)
    else:
        frames = [atoms for name in FILES for atoms in read_frames(options.data / name)]
        surrogate, *_ = fit(frames, totaldegree=16)
    report = run_check(surrogate, CONFIG)
    assert report.bands is not None
    lowest = report.bands.along.values.min()
    if lowest < -NOISE_THZ:
        print(f"an imaginary mode: {lowest:.4f} THz")
        return 1
    draw_bands(report.bands.path, report.bands.along).savefig(DOCS / PICTURE, dpi=110)
    page = PAGE.format(
        n_features=surrogate.descriptor.n_features,
        members=CONFIG.members,
        quantities=quantity_table(report),
        phonons=phonon_table(report),
        lowest=lowest,
        picture=PICTURE,
    )
    (DOCS / "validation.md").write_text(page)
    print(page, end="")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help=f"folder with {' and '.join(FILES)}")
    source.add_argument("--model", type=Path, help="a saved surrogate (npz) of that fit")
    return parser


if __name__ == "__main__":
    sys.exit(main())
