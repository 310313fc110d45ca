"""The order of the rooms, lazy imports, and other habits that hold the house together."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import ase_bayesel

ROOT = Path(ase_bayesel.__file__).parent
ROOMS = [
    "errors",
    "archives",
    "documents",
    "xyz",
    "structures",
    "descriptors",
    "triangular",
    "design",
    "posterior",
    "evidence",
    "force_uncertainty",
    "surrogate",
    "fitting",
    "selection",
    "feature_store",
    "candidates",
    "pool",
    "bias",
    "prediction",
    "gathering",
    "evaluation",
    "calculator",
    "torchsim",
    "accuracy",
    "validation",
    "testing",
    "triggers",
    "moves",
    "ramps",
    "integrators",
    "ensembles",
    "heat",
    "driver",
    "walkers",
    "files",
    "stopping",
    "recording",
    "generation",
    "supervise",
    "processes",
    "resources",
    "explore",
    "refit",
    "engines",
    "labels",
    "labelling",
    "labeller",
    "answers",
    "round_report",
    "store",
    "training",
    "sections",
    "config",
    "build",
    "build_md",
    "inputs",
    "models",
    "thresholds",
    "exploration",
    "changes",
    "campaign",
    "progress",
    "report",
    "check",
    "engine_check",
    "pool_report",
    "picking",
    "pooling",
    "cli",
]
CONFIG_READERS = {
    *(
        "build",
        "build_md",
        "inputs",
        "models",
        "thresholds",
        "exploration",
        "changes",
        "campaign",
        "check",
        "engine_check",
        "pooling",
        "cli",
    )
}
MODULES = sorted(ROOT.rglob("*.py"))
HEAVY = ["torch", "ase", "matplotlib", "mace", "dask"]


def name_of(path):
    """Dotted parts inside the package, as ``("descriptors", "ace", "radial")``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported_rooms(path):
    """Rooms of this package that a module imports anywhere, also within functions."""
    package = path.relative_to(ROOT).parts[:-1]
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            absolute = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".") if node.module else []
            if node.level:
                inside = list(package[: len(package) - (node.level - 1)])
                base = ["ase_bayesel", *inside, *base]
            absolute = [[*base, alias.name] for alias in node.names]
        else:
            continue
        rooms |= {names[1] for names in absolute if names[0] == "ase_bayesel" and len(names) > 1}
    return rooms & {name_of(module)[0] for module in MODULES if name_of(module)}


def loaded_after(statement, names):
    code = f"import sys; {statement}; print(*[n for n in {names!r} if n in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_the_parser_sees_imports():
    assert {"posterior", "descriptors", "errors"} <= imported_rooms(ROOT / "surrogate.py")
    assert {"structures"} <= imported_rooms(ROOT / "descriptors" / "ace" / "neighbours.py")
    assert {"errors"} <= imported_rooms(ROOT / "descriptors" / "__init__.py")


def test_every_module_is_in_a_known_room():
    assert {name_of(path)[0] for path in MODULES if name_of(path)} <= set(ROOMS)


@pytest.mark.parametrize(
    "path", [p for p in MODULES if name_of(p)], ids=lambda p: ".".join(name_of(p))
)
def test_imports_point_upwards(path):
    room = name_of(path)[0]
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    if room not in CONFIG_READERS:
        allowed -= {"config"} - {room}
    assert imported_rooms(path) <= allowed


def test_importing_the_package_is_light():
    assert loaded_after("import ase_bayesel", HEAVY) == []


@pytest.mark.parametrize(
    "room",
    [
        "archives",
        "posterior",
        "bias",
        "evidence",
        "triangular",
        "errors",
        "selection",
        "ramps",
        "heat",
    ],
)
def test_rooms_of_plain_arrays(room):
    assert loaded_after(f"import ase_bayesel.{room}", HEAVY) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda p: ".".join(name_of(p)) or "package")
def test_modules_are_short_and_described(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 350
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("name", ase_bayesel.__all__)
def test_public_names_have_docstrings(name):
    documented = getattr(ase_bayesel, name)
    assert documented.__doc__
    assert not documented.__doc__.startswith(f"{name}(")  # what a dataclass writes by itself


def test_public_names():
    assert sorted(ase_bayesel.__all__) == dir(ase_bayesel)
    assert set(ase_bayesel.__all__) == set(ase_bayesel._MODULES)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = ase_bayesel.Nothing


def test_errors_have_one_base():
    errors = importlib.import_module("ase_bayesel.errors")
    named = [value for value in vars(errors).values() if isinstance(value, type)]
    assert len(named) > 5
    assert all(issubclass(error, errors.BayeselError | UserWarning) for error in named)


def test_no_global_random_state():
    """Only generators and their types; never the functions that share one hidden state."""
    allowed = {"Generator", "default_rng", "PCG64", "SeedSequence", "BitGenerator"}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "np.random":
                assert node.attr in allowed, f"{path.name}:{node.lineno}"
