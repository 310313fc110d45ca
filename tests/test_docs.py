"""What the pages of the docs hold."""

import re
from pathlib import Path

import pytest
import yaml

import ase_bayesel

DOCS = Path(__file__).parents[1] / "docs"
PUBLIC = sorted(set(ase_bayesel.__all__) - {"__version__"})


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_in_the_reference(name):
    assert re.search(rf"^::: ase_bayesel\.[\w.]+\.{name}$", (DOCS / "api.md").read_text(), re.M)


def test_the_reference_names_what_is_exported():
    for path in re.findall(r"^::: (\S+)$", (DOCS / "api.md").read_text(), re.M):
        assert path.rpartition(".")[2] in PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_says_what_it_is(name):
    assert len(getattr(ase_bayesel, name).__doc__ or "") > 20


def test_the_citation_names_this_version():
    citation = yaml.safe_load((DOCS.parent / "CITATION.cff").read_text())
    assert str(citation["version"]) == ase_bayesel.__version__
    assert citation["cff-version"] == "1.2.0"
