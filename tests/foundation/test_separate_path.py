"""Potentials that are no torch networks, with linear ACE beside them, as docs/how-to/potentials.md.

Each in a campaign of two rounds with the page's own config.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.io import write
from helpers.campaigns import ended, reports, write_campaign
from helpers.doc_blocks import ROOT, blocks
from helpers.structures import alloy_cells, reference

from ase_bayesel import ACEDescriptor
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.round_model import load_model
from ase_bayesel.testing import check_calculator

pytestmark = pytest.mark.slow
PAGE = blocks(ROOT / "docs" / "how-to" / "potentials.md")
EAM = Path("/usr/share/lammps/potentials/AlCu.eam.alloy")


def block(word, language="yaml"):
    """The only block of the page in which a word is."""
    (found,) = [one.code for one in PAGE if one.language == language and word in one.code]
    return found


def potential_of(folder, config, steps=10):
    """The potential of the last of two rounds that were run in a folder."""
    changes = yaml.safe_load(config) | {
        "explore.steps": steps,
        "explore.picks": 1,
        "explore.walkers": 1,
        "explore.trigger": {"kind": "relative_force", "threshold": 1e-4},
    }
    path = write_campaign(folder, changes)
    store, _ = ended(path)
    assert store.completed_rounds() == 3
    assert [report.picks for report in reports(store)[1:]] == [1, 1]
    surrogate, potential = load_model(load_config(path), store, 2)
    assert isinstance(surrogate.descriptor, ACEDescriptor)
    return potential


def write_nep(path, elements):
    """Random weights for radial and angular descriptors without terms of four and five bodies."""
    rng = np.random.default_rng(0)
    kinds, n_max, basis, l_max, neurons = len(elements), 4, 6, 4, 5
    n_features = (n_max + 1) * (1 + l_max)
    weights = kinds * (n_features + 2) * neurons + 1 + kinds**2 * 2 * (n_max + 1) * (basis + 1)
    header = (
        f"nep4 {kinds} {' '.join(elements)}\ncutoff 4.5 4 100 100\nn_max {n_max} {n_max}\n"
        f"basis_size {basis} {basis}\nl_max {l_max} 0 0\nANN {neurons} 0\n"
    )
    values = [*rng.normal(0.0, 0.3, weights), *np.full(n_features, 0.2)]
    path.write_text(header + "".join(f"{value}\n" for value in values))


@pytest.mark.optional("calorine")
def test_nep(tmp_path):
    write_nep(tmp_path / "nep.txt", ["Cu", "Al"])
    potential = potential_of(tmp_path, block("calorine"))
    check_calculator(potential, alloy_cells(1, 0.05, 3)[0], step_A=1e-4)


def write_grace(folder, elements):
    """Random weights for products of two single-particle functions; without compilation."""
    import tensorflow as tf
    from tensorpotential.potentials.presets import FS
    from tensorpotential.tpmodel import TPModel

    tf.random.set_seed(0)
    kinds = {element: k for k, element in enumerate(sorted(elements))}
    narrow = {"lmax": 1, "n_rad_max": 4, "n_rad_base": 4, "max_order": 2, "embedding_size": 4}
    model = TPModel(FS(element_map=kinds, rcut=4.5, **narrow).get_instructions())
    model.build(tf.float64, jit_compile=False)
    model.save_model(str(folder), jit_compile=False)


@pytest.mark.optional("tensorpotential")
def test_grace(tmp_path):
    write_grace(tmp_path / "grace", ["Cu", "Al"])
    potential = potential_of(tmp_path, block("tensorpotential"), steps=4)
    check_calculator(potential, alloy_cells(1, 0.05, 3)[0], step_A=1e-4)


@pytest.mark.optional("quippy")
def test_gap(tmp_path):
    (tmp_path / "gap").mkdir()
    write(tmp_path / "gap" / "train.extxyz", [reference(a) for a in alloy_cells(6, 0.05, 0)])
    two_body = (
        "distance_2b cutoff=4.0 covariance_type=ard_se delta=0.5 theta_uniform=1.0 "
        "sparse_method=uniform n_sparse=10 add_species=T"
    )
    words = ["at_file=train.extxyz", "gp_file=gap.xml", f"gap={{{two_body}}}", "do_copy_at_file=F"]
    words += ["energy_parameter_name=REF_energy", "force_parameter_name=REF_forces"]
    words += ["default_sigma={0.005 0.1 0 0}", "e0_method=average", "sparse_separate_file=T"]
    command = [Path(sys.executable).with_name("gap_fit"), *words]
    subprocess.run(command, cwd=tmp_path / "gap", check=True, capture_output=True)
    (tmp_path / "my_gap.py").write_text(block("quippy", "python"))
    potential = potential_of(tmp_path, block("my_gap"))
    check_calculator(potential, alloy_cells(1, 0.05, 3)[0], step_A=1e-4)


@pytest.mark.optional("quippy")  # ASE leaves files open: where warnings are no errors
@pytest.mark.skipif(not EAM.exists() or shutil.which("lmp") is None, reason="needs LAMMPS")
def test_lammps(tmp_path):
    shutil.copy(EAM, tmp_path / "own.eam")  # which LAMMPS does not find among its own
    (tmp_path / "my_lammps.py").write_text(block("lammpsrun", "python"))
    config = block("my_lammps").replace(EAM.name, "own.eam")
    potential = potential_of(tmp_path, config, steps=4)
    # cells pass through text of some digits, so that differences need long steps
    check_calculator(potential, alloy_cells(1, 0.05, 3)[0], step_A=1e-2, tolerance=5e-3)


def write_mtp_file(path, n_types):
    """Random weights for the moment without directions and the square of that of one."""
    from motep.io.mlip.mtp import write_mtp
    from motep.potentials.mtp.data import BasisData, MTPData

    basic = np.array([[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    data = MTPData(
        version="1.1.0",
        potential_name="random",
        species_count=n_types,
        radial_basis=BasisData("RBChebyshev", 1.5, 4.5, 6),
        radial_funcs_count=1,
        alpha_moments_count=5,
        alpha_index_basic_count=4,
        alpha_index_basic=basic,
        alpha_index_times_count=3,
        alpha_index_times=np.array([[k, k, 1, 4] for k in (1, 2, 3)]),
        alpha_scalar_moments=2,
        alpha_moment_mapping=np.array([0, 4]),
        moment_coeffs=np.array([0.3, 0.1]),  # larger ones tear the cell apart
    )
    data.initialize(np.random.default_rng(0))
    write_mtp(path, data, legacy=True)  # as MLIP writes them


@pytest.mark.optional("motep")
def test_mtp(tmp_path):
    write_mtp_file(tmp_path / "mine.mtp", 2)
    (tmp_path / "my_mtp.py").write_text(block("motep", "python"))
    potential = potential_of(tmp_path, block("my_mtp"))
    check_calculator(potential, alloy_cells(1, 0.05, 3)[0], step_A=1e-4)
