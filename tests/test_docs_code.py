"""Every code block of README and docs is run, or checked where it says why it cannot be.

`<!-- not run: WHY -->` before a block is such a reason.
"""

import sys
from pathlib import Path

import pytest
from helpers.doc_blocks import (
    PAGES,
    ROOT,
    blocks,
    check_config,
    check_words,
    name_of,
    run,
)

ELSEWHERE = {
    "README.md": "tests/test_example.py",
    "docs/how-to/choose_from_a_pool.md": "tests/cli/test_choose_from_a_pool.py",
    "docs/how-to/from_nothing.md": "tests/cli/test_from_nothing.py",
    "docs/how-to/lammps.md": "tests/dynamics/test_lammps_walkers.py",
    "docs/how-to/new-engine.md": "tests/labelling/test_new_engine.py",
    "docs/how-to/own_scripts.md": "tests/bias/test_annotation.py",
    "docs/how-to/potentials.md": "tests/campaign/test_potentials.py",
    "docs/how-to/restraints.md": "tests/dynamics/test_restrained_walkers.py",
}
"""Pages whose blocks another test runs."""
TOLD = {
    "docs/running.md": "commands for a campaign of the reader's",
    "docs/calibration.md": "what was run, for hours",
    "docs/nshot.md": "what was run, for hours",
    "docs/reproduction.md": "what was run, for hours",
    "docs/stopping.md": "what was run, for hours",
    "docs/wrong_labels.md": "what was run, for hours",
}
"""Pages of which no block is run, and why."""
SHELLS = ("bash", "console", "sh")


def of_pages(*languages):
    """Name and block of all pages."""
    return [
        pytest.param(page, block, id=f"{name_of(page)}-{k}")
        for page in PAGES
        for k, block in enumerate(blocks(page))
        if block.language in languages
    ]


def to_run(page):
    """The blocks of a page that are run here, in their order."""
    if name_of(page) in {*ELSEWHERE, *TOLD}:
        return []
    return [b for b in blocks(page) if b.why is None and b.language in ("python", *SHELLS)]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if to_run(page)], ids=name_of)
def test_the_blocks_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    namespace = {}
    for block in to_run(page):
        run(block, namespace)


@pytest.mark.parametrize(("page", "block"), of_pages("python"))
def test_python_is_python(page, block):
    compile(block.code, name_of(page), "exec")


@pytest.mark.parametrize(("page", "block"), of_pages(*SHELLS))
def test_commands_and_scripts_exist(page, block):
    check_words(block.code)


@pytest.mark.parametrize(("page", "block"), of_pages("yaml"))
def test_configs_are_valid(page, block):
    if block.why is None:
        check_config(block.code)


@pytest.mark.parametrize("page", ELSEWHERE)
def test_pages_that_are_run_elsewhere_are_read_there(page):
    assert Path(page).name in (ROOT / ELSEWHERE[page]).read_text()
