"""CP2K: input, molecules and crystals, the layouts of its output."""

import re
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.cp2k import parse_input
from ase.units import Bohr, GPa, Hartree
from helpers.campaigns import campaign_settings
from helpers.dft_engines import (
    CP2K,
    PERIODIC_CP2K,
    check_forces,
    check_stress,
    evaluated,
    needs_cp2k,
    silicon_pair,
)

from ase_bayesel.campaign.config.loading import validate_config
from ase_bayesel.errors import EngineError, MissingProgramError, NotConvergedError
from ase_bayesel.labelling.engines import CP2KEngine
from ase_bayesel.labelling.engines.base import merged
from ase_bayesel.labelling.result import REFERENCE_PROPERTIES

BASIS = """# a comment
Si SZV-MOLOPT-SR-GTH SZV-MOLOPT-SR-GTH-q4
 1
 2 0 1 1 1 1
H  SZV-MOLOPT-SR-GTH
 1
C DZVP
"""


@pytest.fixture
def engine(tmp_path):
    """One whose files are there on any machine."""
    basis, potential = tmp_path / "BASIS", tmp_path / "POTENTIALS"
    basis.write_text(BASIS)
    potential.write_text("Si GTH-PADE-q4 GTH-PADE\n 2 2\nH GTH-PADE\nC GTH-PADE\n")
    return replace(CP2K, basis_set_file=basis, potential_file=potential, command=("true",))


def written(engine, atoms, directory, properties=REFERENCE_PROPERTIES):
    assert engine.write(atoms, directory, engine.parameters_of(0), properties) == ["-i", "cp2k.inp"]
    return parse_input((directory / "cp2k.inp").read_text())


def section(root, path):
    return root.get_subsection(path)


def test_input_of_a_crystal(engine, tmp_path):
    atoms = silicon_pair()
    root = written(replace(engine, kpts=(2, 1, 4)), atoms, tmp_path)
    coordinates = [line.split() for line in section(root, "FORCE_EVAL/SUBSYS/COORD").keywords]
    assert [words[0] for words in coordinates] == ["Si", "Si"]
    np.testing.assert_array_equal(
        np.array([words[1:] for words in coordinates], float), atoms.positions
    )
    *vectors, periodic = [line.split() for line in section(root, "FORCE_EVAL/SUBSYS/CELL").keywords]
    np.testing.assert_array_equal(
        np.array([words[1:] for words in vectors], float), atoms.cell.array
    )
    assert periodic == ["PERIODIC", "XYZ"]
    dft = section(root, "FORCE_EVAL/DFT")
    assert section(dft, "KPOINTS").keywords == ["SCHEME MACDONALD 2 1 4 0.25 0 0.125"]
    assert section(dft, "MGRID").keywords == ["CUTOFF 80.0", "REL_CUTOFF 20"]
    assert section(dft, "XC/XC_FUNCTIONAL").params == "PADE"
    assert section(dft, "SCF").keywords == ["EPS_SCF 1e-07", "MAX_SCF 100"]
    assert section(dft, "SCF/PRINT/RESTART").params == "OFF"
    assert "STRESS_TENSOR ANALYTICAL" in section(root, "FORCE_EVAL").keywords
    kind = section(root, "FORCE_EVAL/SUBSYS/KIND")
    assert kind.params == "Si"
    assert kind.keywords[:2] == ["BASIS_SET SZV-MOLOPT-SR-GTH", "POTENTIAL GTH-PADE"]


def test_input_of_a_molecule(engine, tmp_path):
    atoms = Atoms("SiHH", [[0, 0, 0], [1, 1, 0], [1, -1, 3.2]])
    root = written(replace(engine, magnetic_moments={"Si": 2.0}), atoms, tmp_path)
    cell = section(root, "FORCE_EVAL/SUBSYS/CELL").keywords
    assert cell == ["A 10.0 0.0 0.0", "B 0.0 10.0 0.0", "C 0.0 0.0 10.0", "PERIODIC NONE"]
    lines = section(root, "FORCE_EVAL/SUBSYS/COORD").keywords
    positions = np.array([line.split()[1:] for line in lines], float)
    np.testing.assert_allclose(positions - positions[0], atoms.positions, atol=1e-12)
    np.testing.assert_allclose(positions.min(axis=0) + positions.max(axis=0), 10.0)
    assert section(root, "FORCE_EVAL/DFT/POISSON").keywords == [
        "PERIODIC NONE",
        "PSOLVER WAVELET",
    ]
    assert "UKS ON" in section(root, "FORCE_EVAL/DFT").keywords
    assert "STRESS_TENSOR NONE" in section(root, "FORCE_EVAL").keywords
    kinds = [one for one in section(root, "FORCE_EVAL/SUBSYS").subsections if one.name == "KIND"]
    assert [(one.params, one.keywords[-1]) for one in kinds] == [
        ("H", "MAGNETIZATION 0.0"),
        ("Si", "MAGNETIZATION 2.0"),
    ]


def test_place_and_cell_of_a_molecule_do_not_count(engine, tmp_path):
    atoms = Atoms("SiHH", [[0, 0, 0], [1, 1, 0], [1, -1, 3.25]])
    written(engine, atoms, tmp_path)
    before = (tmp_path / "cp2k.inp").read_text()
    atoms.cell = [3, 4, 5]
    atoms.positions += 16.0
    written(engine, atoms, tmp_path)
    assert (tmp_path / "cp2k.inp").read_text() == before


def test_lists_and_section_parameters(engine, tmp_path):
    pairs = [{"_": "one", "R": 1}, {"_": "two", "R": 2}]
    given = {"force_eval": {"dft": {"pair": pairs, "word": ["a", "b"], "sic": {"_": True}}}}
    dft = section(
        written(replace(engine, parameters=given), silicon_pair(), tmp_path), "FORCE_EVAL/DFT"
    )
    found = [(one.params, one.keywords) for one in dft.subsections if one.name == "PAIR"]
    assert found == [("one", ["R 1"]), ("two", ["R 2"])]
    assert [line for line in dft.keywords if "WORD" in line] == ["WORD a", "WORD b"]
    assert section(dft, "SIC").params == "ON"


def test_mixed_periodicity_is_refused(engine, tmp_path):
    atoms = silicon_pair()
    atoms.pbc = (True, True, False)
    with pytest.raises(EngineError, match="three periodic directions or none"):
        written(engine, atoms, tmp_path)


def test_missing(engine, tmp_path):
    assert engine.missing(["Si", "H"]) == []
    by_element = replace(engine, basis_set={"C": "DZVP", "Si": "SZV-MOLOPT-SR-GTH-q4"})
    assert by_element.missing(["C", "Si"]) == []
    assert by_element.missing(["H"]) == [
        f"{engine.basis_set_file}: no entry for H (labelling.basis_set)"
    ]
    assert engine.missing(["C"]) == [
        f"{engine.basis_set_file}: no SZV-MOLOPT-SR-GTH for C (labelling.basis_set)"
    ]
    with pytest.raises(EngineError, match="for C"):
        written(engine, Atoms("C"), tmp_path)
    gone = replace(engine, potential_file=tmp_path / "gone")
    assert gone.missing(["H"]) == [f"{tmp_path}/gone: no such file (labelling.potential_file)"]
    with pytest.raises(MissingProgramError, match="gone: no such file"):
        written(gone, silicon_pair(), tmp_path)


def test_identity_counts_files_by_content(engine, tmp_path):
    copy = tmp_path / "copy"
    copy.write_text(BASIS)
    assert replace(engine, basis_set_file=copy).identity() == engine.identity()
    before = engine.identity()
    engine.basis_set_file.write_text(BASIS + "\n")
    assert engine.identity() != before
    for changes in ({"xc": "PBE"}, {"cutoff_Ry": 81.0}, {"vacuum_A": 4.0}, {"basis_set": "x"}):
        assert replace(engine, **changes).identity() != engine.identity()


def output(energy, forces, stress):
    """What a program prints, as far as it is read."""
    return (
        f" CP2K| version string:   CP2K version 2025.2\n\n  *** SCF run converged in 9 steps ***\n"
        f"\n{energy}\n\n{forces}\n\n{stress}\n\n  **** **** PROGRAM ENDED AT  now\n"
    )


OLD = (
    " ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:               -7.872524007103807",
    """ ATOMIC FORCES in [a.u.]

 # Atom   Kind   Element          X              Y              Z
      1      1      Si         -0.03045529     0.01172856     0.02633607
      2      2      H           0.03045527    -0.01172845    -0.02633598
 SUM OF ATOMIC FORCES          -0.00000001     0.00000011     0.00000010     0.00000014""",
    """ STRESS| Analytical stress tensor [GPa]
 STRESS|                        x                   y                   z
 STRESS|      x        5.0E+00  -1.0E+01  -8.0E+00
 STRESS|      y       -1.0E+01   6.0E+00  -1.0E+00
 STRESS|      z       -8.0E+00  -1.0E+00   7.0E+00
 STRESS| 1/3 Trace                                             5.07694659017E+00""",
)
NEW = (
    " ENERGY| Total FORCE_EVAL ( QS ) energy [hartree]             -7.872524007103807",
    """ FORCES| Atomic forces [hartree/bohr]
 FORCES|   Atom     x               y               z               |f|
 FORCES|      1 -3.045529E-02  1.172856E-02  2.633607E-02   4.2E-02
 FORCES|      2  3.045527E-02 -1.172845E-02 -2.633598E-02   4.2E-02
 FORCES| Sum    -2.0E-08  1.1E-07  9.0E-08
 FORCES| Total atomic force   6.0E-02""",
    re.sub("E.0([01])", lambda m: f"E+0{int(m[1]) + 4}", OLD[2].replace("GPa", "bar")),
)


@pytest.mark.parametrize("printed", [OLD, NEW], ids=["until 2024", "since 2025"])
def test_both_layouts(engine, tmp_path, printed):
    (tmp_path / "cp2k.out").write_text(output(*printed))
    found = engine.collected(Atoms("SiH", pbc=True), tmp_path, REFERENCE_PROPERTIES)
    assert found.version == "cp2k 2025.2"
    assert found.energy == -7.872524007103807 * Hartree
    first = np.array([-0.03045529, 0.01172856, 0.02633607]) * Hartree / Bohr
    np.testing.assert_allclose(found.forces[0], first)
    np.testing.assert_allclose(found.stress, -GPa * np.array([5, 6, 7, -1, -8, -10]))
    for lost in range(3):
        parts = ["" if k == lost else part for k, part in enumerate(printed)]
        (tmp_path / "cp2k.out").write_text(output(*parts))
        with pytest.raises(EngineError, match="cannot be read"):
            engine.collected(Atoms("SiH", pbc=True), tmp_path, REFERENCE_PROPERTIES)
    (tmp_path / "cp2k.out").write_text(output(*printed).replace("converged in", "NOT converged"))
    with pytest.raises(NotConvergedError):
        engine.collected(Atoms("SiH", pbc=True), tmp_path, REFERENCE_PROPERTIES)


@needs_cp2k
@pytest.mark.slow
def test_a_crystal_with_smearing(tmp_path):
    atoms = silicon_pair()
    talking = {"GLOBAL": {"PRINT_LEVEL": "MEDIUM"}}
    found = evaluated(
        replace(PERIODIC_CP2K, parameters=merged(PERIODIC_CP2K.parameters, talking)),
        atoms,
        tmp_path,
    )
    text = (tmp_path / "run0" / "cp2k.out").read_text()
    rows = re.findall(r"BRILLOUIN\|\s+\d+\s+0\.125\d+\s+(\S+)\s+(\S+)\s+(\S+)\n", text)
    grid = np.array(list(np.ndindex(2, 2, 2))) / 2
    np.testing.assert_allclose(np.array(rows, float), grid, atol=1e-5)
    check_forces(PERIODIC_CP2K, atoms, found, tmp_path, 1e-3)
    check_stress(PERIODIC_CP2K, atoms, found, tmp_path, 0.01)


def test_config():
    given = {
        "kind": "cp2k",
        "kpts": [1, 1, 1],
        "basis_set": {"Cu": "DZVP-MOLOPT-SR-GTH"},
        "basis_set_file": "/data/BASIS_MOLOPT",
        "potential_file": "/data/GTH_POTENTIALS",
    }
    config = validate_config(campaign_settings({"labelling": given}), "test")
    engine = config.engine
    assert isinstance(engine, CP2KEngine)
    assert (engine.xc, engine.cutoff_Ry, engine.potential) == ("PBE", 400.0, "GTH-PBE")
