"""Charge and multiplicity of a structure in what each engine writes, or why it is refused."""

import re
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read
from helpers.dft_engines import ABINIT, CP2K, ESPRESSO

from ase_bayesel.errors import EngineError, LabellingError
from ase_bayesel.labelling.by_hand import read_labels_by_hand
from ase_bayesel.labelling.engines import (
    AimsEngine,
    CastepEngine,
    GPAWEngine,
    ImportedEngine,
    LammpsEngine,
    OrcaEngine,
    TBLiteEngine,
    VaspEngine,
    base,
)
from ase_bayesel.labelling.store import LabelStore
from ase_bayesel.labelling.task import compute
from ase_bayesel.structures.frames import write_frames
from ase_bayesel.structures.identity import structure_id
from ase_bayesel.structures.labels import PropertyKeys


def methyl(periodic=True, **info):
    """Nine electrons, seven of them valence electrons."""
    atoms = molecule("CH3", vacuum=3.0)
    atoms.pbc = periodic
    atoms.info.update(info)
    return atoms


def pseudopotentials(folder):
    for element in ("C", "H"):
        (folder / element).write_text(element)
    return {"pseudo_dir": folder, "pseudopotentials": {"C": "C", "H": "H"}}


def espresso(folder):
    return replace(ESPRESSO, kpts=(1, 1, 1), **pseudopotentials(folder))


def abinit(folder):
    return replace(ABINIT, kpts=(1, 1, 1), **pseudopotentials(folder))


def cp2k(folder):
    basis, potential = folder / "basis", folder / "potential"
    basis.write_text("C SZV-MOLOPT-SR-GTH\nH SZV-MOLOPT-SR-GTH\n")
    potential.write_text("C GTH-PADE\nH GTH-PADE\n")
    return replace(CP2K, basis_set_file=basis, potential_file=potential)


def orca(folder):
    return OrcaEngine({"simple": "PBE def2-SVP"})


def aims(folder):
    for name in ("06_C", "01_H"):
        (folder / f"{name}_default").write_text(f"  species {name}\n")
    keywords = {"xc": "pbe", "relativistic": "none", "k_grid": [1, 1, 1]}
    return AimsEngine(keywords, species_dir=folder)


def castep(folder):
    param = {"xc_functional": "PBE", "cut_off_energy": 300}
    return CastepEngine({"param": param, "cell": {"kpoints_mp_spacing": 0.05}})


def vasp(folder):
    for name, electrons in (("C", 4.0), ("H", 1.0)):
        (folder / name).mkdir()
        head = f"  PAW_PBE {name} 01Jan2000\n   TITEL  = PAW_PBE {name} 01Jan2000\n\n\n\n"
        zval = f"   POMASS =   12.011; ZVAL   =    {electrons:.3f}    mass and valenz\n"
        (folder / name / "POTCAR").write_text(head + zval + "End of Dataset\n")
    keywords = {"xc": "PBE", "encut": 300, "kpts": [1, 1, 1]}
    return VaspEngine(keywords, pp_path=folder, potentials={"C": "C", "H": "H"})


MOMENTS = {"magnetic_moments": {"C": 1.0}}
POLARISED = {
    "espresso": MOMENTS,
    "abinit": MOMENTS,
    "cp2k": MOMENTS,
    "orca": {},
    "aims": {"parameters": {"spin": "collinear"}, **MOMENTS},
    "castep": {"parameters": {"param": {"spin_polarized": True}}, **MOMENTS},
    "vasp": {"parameters": {"ispin": 2}, **MOMENTS},
}
INPUTS = {
    "espresso": ("espresso.pwi", ["tot_charge = 1"], ["tot_magnetization = 2", "nspin = 2"]),
    "abinit": ("abinit.abi", ["cellcharge 1"], ["spinmagntarget 2", "nsppol 2"]),
    "cp2k": ("cp2k.inp", ["CHARGE 1"], ["MULTIPLICITY 3", "UKS ON"]),
    "orca": ("orca.inp", ["*xyz 1 1"], ["*xyz 1 3"]),
    "aims": ("control.in", ["charge 1"], ["fixed_spin_moment 2"]),
    "castep": ("label.param", ["charge : 1"], ["spin : 2", "spin_fix : -1"]),
    "vasp": ("INCAR", ["NELECT = 6.000000"], ["NUPDOWN = 2.000000", "ISPIN = 2"]),
}
MAKERS = {"espresso": espresso, "abinit": abinit, "cp2k": cp2k, "orca": orca, "aims": aims}
MAKERS |= {"castep": castep, "vasp": vasp}
WORDS = (
    "charge",
    "nelect",
    "tot_mag",
    "spinmagn",
    "multiplicity",
    "fixed_spin",
    "spin_fix",
    "nupd",
)


def polarised(engine):
    changes = POLARISED[engine.kind]
    parameters = base.merged(engine.parameters, changes.get("parameters", {}))
    return replace(engine, **{**changes, "parameters": parameters})


def written(engine, atoms, folder):
    """The lines of the input file, with single spaces."""
    folder.mkdir()
    engine.write(atoms, folder, engine.parameters_of(0), ("energy", "forces"))
    text = (folder / INPUTS[engine.kind][0]).read_text()
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.fixture(params=MAKERS)
def engine(request, tmp_path):
    (tmp_path / "files").mkdir()
    return MAKERS[request.param](tmp_path / "files")


def test_it_is_in_the_input(engine, tmp_path):
    periodic = engine.kind != "orca"
    _, charged, magnetic = INPUTS[engine.kind]
    atoms = methyl(periodic, charge=1)
    assert engine.refusal(atoms) is None
    lines = written(engine, atoms, tmp_path / "charged")
    assert set(charged) <= set(lines)
    spins, triplet = polarised(engine), methyl(periodic, charge=1, spin=3)
    assert spins.refusal(triplet) is None
    lines = written(spins, triplet, tmp_path / "triplet")
    assert set(magnetic) <= set(lines)
    assert set(charged) <= set(lines) or engine.kind == "orca"


def test_the_usual_state_writes_what_was_always_written(engine, tmp_path):
    periodic = engine.kind != "orca"
    lines = written(engine, methyl(periodic), tmp_path / "plain")
    assert written(engine, methyl(periodic, charge=0, spin=1), tmp_path / "usual") == lines
    if engine.kind != "orca":
        assert not [line for line in lines if any(word in line.lower() for word in WORDS)]


def test_a_multiplicity_needs_spins(engine):
    refused = engine.refusal(methyl(spin=2))
    if engine.kind == "orca":
        assert refused is None
    else:
        assert refused is not None
        assert "spin 2 of the structure cannot be used; a multiplicity needs spin" in refused


def test_electrons_that_are_not_known(tmp_path):
    engine = vasp(tmp_path)
    (tmp_path / "C" / "POTCAR").write_text("  PAW_PBE C 01Jan2000\n")
    written(engine, methyl(), tmp_path / "neutral")
    with pytest.raises(EngineError, match=r"C/POTCAR: does not say how many electrons"):
        written(engine, methyl(charge=1), tmp_path / "charged")


def test_a_structure_wins_over_the_parameters(tmp_path):
    engine = replace(orca(tmp_path), parameters={"simple": "PBE", "charge": -1, "mult": 2})
    assert "*xyz -1 2" in written(engine, methyl(False), tmp_path / "given")
    assert "*xyz 1 2" in written(engine, methyl(False, charge=1), tmp_path / "own")


@pytest.mark.parametrize(
    ("engine", "info", "refused"),
    [
        (LammpsEngine(), {"charge": 1}, "lammps: charge 1 of the structure cannot be used"),
        (LammpsEngine(), {"charge": 1, "spin": 2}, "charge 1 and spin 2 of the structure"),
        (ImportedEngine(factory="m:f"), {"charge": 1}, "labelling.reads"),
        (ImportedEngine(factory="m:f", reads=("charge",)), {"charge": 1}, None),
        (ImportedEngine(factory="m:f", reads=("charge",)), {"spin": 2}, "spin 2 of"),
        (GPAWEngine(), {"charge": -1}, None),
        (GPAWEngine(), {"spin": 2}, "gpaw: spin 2"),
        (TBLiteEngine(), {"charge": -1, "spin": 3}, None),
        (LammpsEngine(), {"charge": 0, "spin": 1}, None),
    ],
    ids=str,
)
def test_engines_that_cannot(engine, info, refused):
    told = engine.refusal(methyl(**info))
    assert (told is None) if refused is None else re.search(re.escape(refused), told)


FACTORY = "ase.calculators.emt:EMT"


def test_a_refusal_is_a_failure_with_the_reason():
    label = compute(methyl(False, charge=1), ImportedEngine(factory=FACTORY), ("energy",))
    assert not label.ok
    assert "import: charge 1 of the structure cannot be used" in label.reason


def test_calculators_that_declare_it_find_it():
    reading = ImportedEngine(factory="helpers.calculators:OfTheCharge", reads=("charge",))
    label = compute(methyl(False, charge=2), reading, ("energy",))
    assert label.values.energy == 2.0
    assert compute(methyl(False), reading, ("energy",)).values.energy == 0.0


def test_xtb_of_ions(tmp_path):
    from tblite.ase import TBLite

    engine, store = TBLiteEngine(), LabelStore(tmp_path)
    energies = {}
    for info in ({}, {"charge": 1}, {"charge": 1, "spin": 3}, {"spin": 4}):
        atoms = methyl(False, **info)
        label = compute(atoms, engine, ("energy", "forces"))
        store.save(label)
        atoms = base.bare(atoms)  # without the moments of ASE's collection
        atoms.calc = TBLite(
            method="GFN1-xTB",
            verbosity=0,
            charge=info.get("charge"),
            multiplicity=info.get("spin"),
        )
        assert label.values.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        np.testing.assert_allclose(label.values.forces, atoms.get_forces(), atol=1e-8)
        kept = store.load(structure_id(atoms), label.settings)
        assert kept.energy == pytest.approx(label.values.energy, abs=1e-6)
        path = store.path(structure_id(atoms), label.settings)
        assert {k: v for k, v in read(path).info.items() if k in ("charge", "spin")} == info
        energies[str(info)] = label.values.energy
    assert len(energies) == 4
    assert min(np.diff(sorted(energies.values()))) > 0.1


KEYS = PropertyKeys(energy="E", forces=None)


@pytest.mark.parametrize(
    ("info", "energy"), [({"charge": 1}, 1.0), ({"charge": 0}, None), ({"charge": -1}, None)]
)
def test_by_hand_the_state_says_which(info, energy, tmp_path):
    picks = [methyl(charge=1), methyl(charge=1, spin=3)]
    write_frames(tmp_path / "l.xyz", [methyl(**info, E=1.0)])
    if energy is None:
        with pytest.raises(LabellingError, match="frame 0: has"):
            read_labels_by_hand(tmp_path / "l.xyz", picks, KEYS)
    else:
        (label,) = read_labels_by_hand(tmp_path / "l.xyz", picks, KEYS)
        assert label.structure_id == structure_id(picks[0])


def test_by_hand_a_program_may_leave_it_out(tmp_path):
    write_frames(tmp_path / "l.xyz", [methyl(E=1.0)])
    (label,) = read_labels_by_hand(tmp_path / "l.xyz", [methyl(charge=1)], KEYS)
    assert label.structure_id == structure_id(methyl(charge=1))


def test_by_hand_another_state_is_refused(tmp_path):
    write_frames(tmp_path / "l.xyz", [methyl(charge=-1, E=1.0)])
    told = r"frame 0: has charge -1, multiplicity 1, and the structure of the batch charge \+1"
    with pytest.raises(LabellingError, match=told):
        read_labels_by_hand(tmp_path / "l.xyz", [methyl(charge=1)], KEYS)
