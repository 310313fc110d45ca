"""Numbers beside nouns."""

from ase_bayesel.io.words import counted


def test_one_is_one_and_all_others_are_many():
    assert [counted(n, "pick") for n in (0, 1, 2)] == ["0 picks", "1 pick", "2 picks"]
    assert counted(1, "label has", "labels have") == "1 label has"
    assert counted(3, "label has", "labels have") == "3 labels have"
