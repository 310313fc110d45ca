"""The benchmarks that run everything, with small models."""

import sys
from pathlib import Path

import pytest
import torch
from helpers.mace_models import needs_mace

from ase_bayesel.descriptors.torch.runtime import default_dtype

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import gpu
from _timing import THREAD_VARIABLES


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


def test_a_part_that_fails_is_on_the_page(tmp_path, monkeypatch):
    pytest.importorskip("mace")
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
