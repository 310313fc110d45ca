"""What the command ``bayesel check`` does: a model's properties from a config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.dft.kpoints import BandPath
from pydantic import Field
from rich.table import Table

from ..campaign.config import CrystalConfig, Section
from ..campaign.config.properties import Supercell
from ..errors import ConfigError
from ..io.atomic import write_atomically
from ..io.formats import CHECK, KEY
from ..io.kinds import VALUE
from ..io.magnitudes import Members, Reciprocal, Seed, Signed, Threads
from ..resources.threads import cpu_threads
from ..surrogate.scales import Scales
from ..surrogate.surrogate import Surrogate
from ..validation import (
    Facet,
    Frequencies,
    Quantity,
    crystal_quantities,
    draw_bands,
    evaluate,
    force_constants,
    relax,
    surface_functional,
)
from ..validation.crystal import elastic_names, lattice_names
from ..validation.phonons import import_phonopy
from ..validation.surfaces import J_PER_M2


class PhononConfig(Section):
    """Phonons along a path of special points, by default ASE's for the lattice.

    About ``points`` q-points lie on the path. Those of ``qpoints``, by their names and in units
    of the reciprocal cell, are listed with the special points.
    """

    supercell: Supercell
    path: str | None = None
    points: Annotated[int, Field(ge=2, le=100_000)] = 101
    qpoints: dict[str, tuple[Reciprocal, Reciprocal, Reciprocal]] = {}


class CheckConfig(Section):
    """What to compute, and what to compare it with.

    ``references`` are by the names of the table, in its units: ``a``, ``C11``,
    ``gamma (100)``. ``members`` are drawn from the posterior of a surrogate. ``head``
    and ``device`` are for MACE models.
    """

    crystal: CrystalConfig
    elastic: bool = True
    surfaces: tuple[Annotated[Facet, VALUE], ...] = ()
    phonons: PhononConfig | None = None
    references: dict[str, Signed] = {}
    members: Members = 32
    seed: Seed = 0
    threads: Threads = 1
    head: str | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Bands:
    """Phonons along a path, and at q-points that have names."""

    path: BandPath
    along: Frequencies
    names: tuple[str, ...]
    named: Frequencies

    def scaled(self, scales: Scales) -> Bands:
        """With the standard deviations as large as errors."""
        along, named = (
            found if found.std is None else replace(found, std=found.std * scales.forces.value)
            for found in (self.along, self.named)
        )
        return replace(self, along=along, named=named)


@dataclass(frozen=True)
class CheckReport:
    """All results; ``references`` by the names of quantities.

    Standard deviations carry the ``scales`` of a surrogate: of energies in quantities, of forces
    in phonons.
    """

    quantities: tuple[Quantity, ...]
    references: Mapping[str, float]
    bands: Bands | None
    scales: Scales


def run_check(model: Surrogate | Calculator, config: CheckConfig) -> CheckReport:
    """Compute everything that the config asks for.

    Raises
    ------
    ConfigError
        If the crystal or the path cannot be made, or a reference belongs to nothing.
    ValidationError
        If a structure does not come to rest, or phonopy is missing.
    """
    crystal = config.crystal.build()
    facets = list(config.surfaces)
    _check_references(config, crystal, facets)
    if config.phonons is not None:
        import_phonopy()
        _band_path(crystal, config.phonons)
    calculator = model.calculator() if isinstance(model, Surrogate) else model
    for_members, for_rattle, for_phonons = np.random.default_rng(config.seed).spawn(3)
    with cpu_threads(config.threads):
        check = partial(crystal_quantities, crystal, elastic=config.elastic)
        quantities = list(evaluate(check, model, config.members, for_members))
        crystal = relax(crystal, calculator, cell=True)
        for facet in facets:
            functional = surface_functional(crystal, calculator, facet, for_rattle)
            value = functional.value(calculator) / J_PER_M2
            std = functional.std(model) / J_PER_M2 if isinstance(model, Surrogate) else None
            quantities.append(Quantity(facet.name, value, "J/m^2", std))
        bands = None
        if config.phonons is not None:
            bands = _bands(crystal, model, config.phonons, config.members, for_phonons)
    scales = model.scales.in_campaign if isinstance(model, Surrogate) else Scales()
    scaled = tuple(quantity.scaled(scales.energy.value) for quantity in quantities)
    return CheckReport(scaled, config.references, bands and bands.scaled(scales), scales)


def write_check(report: CheckReport, directory: Path) -> list[Path]:
    """Write ``check.json`` and, with phonons, ``phonons.png``; returns their paths."""
    quantities = [
        asdict(quantity) | {"reference": report.references.get(quantity.name)}
        for quantity in report.quantities
    ]
    content: dict[str, Any] = {KEY: str(CHECK), "quantities": quantities}
    content["scales"] = report.scales.to_json()
    written = [directory / "check.json"]
    if (bands := report.bands) is not None:
        content["phonons"] = {
            "unit": "THz",
            "path": bands.path.path,
            "along_path": _listed(bands.along),
            "names": bands.names,
            "named": _listed(bands.named),
        }
        written.append(directory / "phonons.png")
    write_atomically(written[0], json.dumps(content, indent=1).encode())
    if bands is not None:
        draw_bands(bands.path, bands.along).savefig(written[1], dpi=130)
    return written


def tables(report: CheckReport) -> list[Table]:
    """The report as tables for a terminal."""
    table = Table("quantity", "value", "std", "reference", "deviation", "unit")
    for quantity in report.quantities:
        reference = report.references.get(quantity.name)
        deviation = None if reference is None else quantity.value - reference
        numbers = (quantity.value, quantity.std, reference, deviation)
        table.add_row(quantity.name, *map(_shown, numbers), quantity.unit)
    if report.scales.energy.n_structures:
        factor = report.scales.energy.value
        table.caption = f"std: of the posterior, times {factor:.3g} (training set left out in turn)"
    if report.bands is None:
        return [table]
    named = report.bands.named
    phonons = Table("q-point", "frequencies (std), THz")
    for k, name in enumerate(report.bands.names):
        entries = [f"{value:.2f}" for value in named.values[k]]
        if named.std is not None:
            entries = [f"{e} ({s:.3f})" for e, s in zip(entries, named.std[k], strict=True)]
        phonons.add_row(name, "  ".join(entries))
    phonons.caption = f"lowest frequency along the path: {report.bands.along.values.min():.3f} THz"
    return [table, phonons]


def _bands(
    crystal: Atoms,
    model: Surrogate | Calculator,
    config: PhononConfig,
    n_members: int,
    rng: np.random.Generator,
) -> Bands:
    constants = force_constants(crystal, model, config.supercell, n_members, rng)
    path = _band_path(crystal, config)
    names, points = zip(*(path.special_points | config.qpoints).items(), strict=True)
    return Bands(path, constants.frequencies(path.kpts), names, constants.frequencies(points))


def _check_references(config: CheckConfig, crystal: Atoms, facets: list[Facet]) -> None:
    names = [*lattice_names(crystal), *(facet.name for facet in facets)]
    if config.elastic:
        names += elastic_names(crystal)
    if unknown := sorted(set(config.references) - set(names)):
        raise ConfigError(
            f"references: {', '.join(unknown)} not computed; known: {', '.join(names)}"
        )


def _band_path(crystal: Atoms, config: PhononConfig) -> BandPath:
    try:
        return crystal.cell.bandpath(config.path, npoints=config.points)
    except (ValueError, KeyError) as error:
        known = ", ".join(crystal.cell.get_bravais_lattice().get_special_points())
        raise ConfigError(f"phonons.path: {config.path!r}; special points: {known}") from error


def _listed(frequencies: Frequencies) -> dict[str, Any]:
    arrays = asdict(frequencies)
    return {key: None if value is None else value.tolist() for key, value in arrays.items()}


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"
