"""The benchmarks that run everything, with small models."""

import re
import sys
from pathlib import Path

import pytest
import torch
from helpers.mace_models import needs_mace

from ase_bayesel.descriptors.torch.runtime import default_dtype

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import gpu
import run
from _timing import THREAD_VARIABLES
from rivals import VARIABLE


@pytest.fixture(autouse=True)
def one_thread_already(monkeypatch):
    """Else a benchmark starts its process again."""
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    with default_dtype("float64"):  # mace's calculator sets it for good
        yield


@needs_mace
@pytest.mark.slow
def test_all_that_runs_on_a_gpu(tmp_path):
    assert gpu.main(["--device", "cpu", "--small", "--output", str(tmp_path)]) == 0
    (page,) = tmp_path.glob("gpu_cpu_*.md")
    text = page.read_text()
    assert text.startswith("# Benchmarks on cpu\n")
    assert f"torch {torch.__version__}" in text.splitlines()[2]
    sections = text.split("\n## ")[1:]
    assert [section.partition("\n")[0] for section in sections] == list(gpu.TITLES.values())
    for section in sections:
        assert "| --- |" in section
    for dtype in gpu.PRECISIONS:
        assert f"1 elements, {dtype}" in text


@needs_mace
def test_a_part_that_fails_is_on_the_page(tmp_path, monkeypatch):
    monkeypatch.setitem(gpu.SMALL, "ace", ["ace --totaldegree 6 --sizes 8 --no-mace --slot -1"])
    monkeypatch.setitem(gpu.SMALL, "chunks", ["mace_chunks --chunks 64"])
    monkeypatch.setattr("mace_chunks.main", lambda arguments: {}["nothing"])
    arguments = ["--device", "cpu", "--small", "--output", str(tmp_path), "--only"]
    assert gpu.main([*arguments, "ace"]) == 0
    assert gpu.main([*arguments, "chunks"]) == 1
    (page,) = tmp_path.iterdir()
    ace, chunks = gpu.TITLES["ace"], gpu.TITLES["chunks"]
    sections = gpu._sections(page)
    assert list(sections) == [chunks, ace]
    assert "Failed: KeyError: 'nothing'" in sections[chunks]
    assert "| 8 |" in sections[ace]


# all of them


def test_every_script_is_in_the_table():
    scripts = {path.stem for path in run.HERE.glob("[!_]*.py")} - {"run"}
    assert {benchmark.script or name for name, benchmark in run.BENCHMARKS.items()} == scripts


def test_the_page_holds_what_is_on_file(tmp_path):
    text = run.PAGE.read_text()
    page = tmp_path / "page.md"
    page.write_text(text.replace("| script |", "| file |"))
    assert run.main(["--table", "--page", str(page)]) == 0
    assert page.read_text() == text


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """Benchmarks of one line each, a page, and the arguments that keep all in the folder."""
    lines = {
        "good": "import sys; print('| ', *sys.argv[1:])",
        "bad": "raise SystemExit(3)",
        "silent": "",
        "absent": "print(1)",
    }
    for name, line in lines.items():
        (tmp_path / f"{name}.py").write_text(line)
    packages = {"absent": ("no_such_package",)}
    known = {n: run.Benchmark(n, "whole", "small", packages.get(n, ())) for n in lines}
    monkeypatch.setattr(run, "BENCHMARKS", known)
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    page = tmp_path / "page.md"
    page.write_text("before\n" + "".join([*run.TABLE, *run.LAST]) + "after\n")
    results = tmp_path / "results"
    return page, results, ["--page", str(page), "--results", str(results), "--only"]


def test_nothing_is_skipped_silently(scripts, capfd):
    page, results, arguments = scripts
    assert run.main([*arguments, "good", "bad", "silent", "absent"]) == 1
    told = capfd.readouterr().out
    for line in ("bad: failed: exit status 3", "silent: failed: printed nothing"):
        assert line in told
    assert "absent: skipped: needs no_such_package" in told
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "4 of 4 benchmarks asked for, 1 ran." in text
    assert "* absent: skipped: needs no_such_package" in text
    assert "* bad: failed: exit status 3" in text
    (figures,) = results.iterdir()
    assert figures.name in text
    assert figures.read_text() == "# good\n\n`python benchmarks/good.py whole`\n\n|  whole\n"
    assert run.main([*arguments, "good"]) == 0
    assert "1 of 4 benchmarks asked for, 1 ran.\n\n<!--" in page.read_text()


def test_a_quick_run_leaves_no_figures(scripts, capfd):
    page, results, arguments = scripts
    before = page.read_text()
    assert run.main(["--quick", *arguments, "good"]) == 0
    assert "good: ran in" in capfd.readouterr().out
    assert page.read_text() == before
    assert not results.exists()


def test_an_environment_runs_what_is_not_installed_here(scripts, tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    _, results, arguments = scripts
    found = f"no_such_package={python}"
    assert run.main(["--environment", found, *arguments, "absent"]) == 0
    assert "1" in next(results.iterdir()).read_text()
    with pytest.raises(SystemExit, match="expected NAME=PYTHON"):
        run.main(["--environment", "ace-jax", *arguments, "good"])


def test_what_there_is(capfd):
    assert run.main(["--list"]) == 0
    listed = capfd.readouterr().out
    assert all(re.search(rf"^{name} ", listed, re.M) for name in run.BENCHMARKS)
    assert "skipped: needs --other CHECKOUT" in listed
