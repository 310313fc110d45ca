"""Start structures from the names of elements."""

import numpy as np
import pytest
from ase.data import chemical_symbols, reference_states

from ase_bayesel.errors import GenerationError
from ase_bayesel.generation.crystals import CUBIC, LEAST_A, LEAST_ATOMS, crystals
from ase_bayesel.structures.checks import check_structure
from ase_bayesel.structures.identity import structure_id
from ase_bayesel.structures.neighbours import fresh_pairs

SIMPLE = [
    symbol
    for symbol, state in zip(chemical_symbols, reference_states, strict=False)
    if state is not None and state["symmetry"] in (*CUBIC, "hcp")
]


@pytest.mark.parametrize("symbol", SIMPLE)
def test_an_element_has_a_supercell_of_its_own_crystal(symbol):
    (made,) = crystals([symbol])
    check_structure(made, symbol)
    assert set(made.symbols) == {symbol}
    assert len(made) >= LEAST_ATOMS
    assert made.cell.lengths().min() >= LEAST_A
    assert made.pbc.all()


def test_the_lattice_is_that_of_ase():
    (copper,) = crystals(["Cu"])
    assert len(copper) == 32
    assert fresh_pairs(copper, 3.0).lengths == pytest.approx(3.61 / np.sqrt(2))
    assert len(fresh_pairs(copper, 3.0).lengths) == 32 * 12


def test_elements_that_fit_share_the_sites_at_random():
    starts = crystals(["Cu", "Au"])
    counts = [atoms.symbols.formula.count() for atoms in starts]
    assert counts == [{"Cu": 16, "Au": 16}, {"Cu": 24, "Au": 8}, {"Cu": 8, "Au": 24}]
    assert starts[0].cell[0, 0] == pytest.approx(2 * (3.61 + 4.08) / 2)
    again, other = crystals(["Cu", "Au"], 0), crystals(["Cu", "Au"], 1)
    assert [structure_id(a) for a in again] == [structure_id(a) for a in starts]
    assert structure_id(other[0]) != structure_id(starts[0])


def test_every_element_of_many_has_a_site():
    elements = ["Cu", "Pd", "Pt", "Ir", "Rh", "Al", "Au", "Ag"]
    for atoms in crystals(elements):
        assert set(atoms.symbols) == set(elements)
        assert len(atoms) == 32


@pytest.mark.parametrize(
    ("elements", "told"),
    [
        (["Cl"], "Cl: its crystal .orthorhombic.*--structure"),
        (["Xx"], "'Xx' is no element$"),
        (["cu"], "'cu' is no element; did you mean Cu"),
        (["Copper"], "'Copper' is no element; did you mean Cu"),
        (["Alumnium"], "did you mean Al"),
        (["Cu", "Fe"], "no lattice in common .Cu fcc 3.61 A, Fe bcc 2.87 A"),
        (["Al", "Ca"], "no lattice in common"),
        (["Sc", "Y", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Lu"], "9 elements: too many"),
    ],
)
def test_what_cannot_be_built_is_refused_with_a_way_out(elements, told):
    with pytest.raises(GenerationError, match=told):
        crystals(elements)
