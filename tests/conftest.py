"""Fixtures of the whole suite."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.structures import copper_training
from hypothesis import settings

from ase_bayesel import ACEDescriptor, Surrogate, fit_surrogate
from ase_bayesel.resources.threads import cpu_threads

settings.register_profile("suite", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("suite")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test of an optional package where that is not installed."""
    for marker in item.iter_markers("optional"):
        if missing := [package for package in marker.args if find_spec(package) is None]:
            pytest.skip(f"needs {', '.join(missing)}")
    if item.get_closest_marker("julia") and "PYTHON_JULIACALL_PROJECT" not in os.environ:
        pytest.skip("needs Julia (docs/how-to/ace_through_julia.md)")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small structures are fastest on one thread."""
    with cpu_threads(1):
        yield


@pytest.fixture
def pythons_handler():
    """Python's own handler of SIGINT, which a background job of a shell has not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def si2018() -> Path:
    """Folder of the silicon data of 2018."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "si2018"
    folder = Path(os.environ.get("ASE_BAYESEL_SI2018", beside))
    if not folder.is_dir():
        pytest.skip("silicon data not found; set ASE_BAYESEL_SI2018")
    return folder


@pytest.fixture(scope="session")
def si_ace() -> ACEDescriptor:
    return ACEDescriptor(["Si"], totaldegree=12)


@pytest.fixture(scope="session")
def ternary_ace() -> ACEDescriptor:
    return ACEDescriptor(["Cu", "Au", "Al"], totaldegree=5)


@pytest.fixture(scope="session")
def cu_ace() -> ACEDescriptor:
    return ACEDescriptor(["Cu"], totaldegree=8)


@pytest.fixture(scope="session")
def cu_surrogate(cu_ace) -> Surrogate:
    """Fitted to EMT's energies, forces and virials."""
    return fit_surrogate(copper_training(), cu_ace, virial_key="virial")
