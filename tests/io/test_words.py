"""Numbers beside nouns, names, and numbers in few digits."""

import pytest

from ase_bayesel.io.words import counted, did_you_mean, listed, rounded


def test_one_is_one_and_all_others_are_many():
    assert [counted(n, "pick") for n in (0, 1, 2)] == ["0 picks", "1 pick", "2 picks"]
    assert counted(1, "label has", "labels have") == "1 label has"
    assert counted(3, "label has", "labels have") == "3 labels have"


@pytest.mark.parametrize(
    ("value", "digits", "told"),
    [
        (100.0, 2, "100"),
        (99.96, 2, "100"),
        (1234.5, 3, "1234"),
        (0.0123, 2, "0.012"),
        (3.2e9, 2, "3.2e+09"),
        (float("inf"), 2, "inf"),
    ],
)
def test_numbers_without_powers_of_ten(value, digits, told):
    assert rounded(value, digits) == told


def test_what_may_be_meant():
    assert did_you_mean("temperature", ["timestep_fs", "temperature_K"]) == (
        "; did you mean temperature_K?"
    )
    assert did_you_mean("colour", ["kpts", "ecut"]) == ""


def test_long_lists_are_cut():
    assert listed(["Cu", "Al"]) == "Cu, Al"
    assert listed([str(k) for k in range(12)]).endswith("8, 9 and 2 more")
