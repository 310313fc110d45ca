"""What a wing may import, lazy imports, and other habits that hold the package together."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ase_bayesel

ROOT = Path(ase_bayesel.__file__).parent
WINGS = {
    "errors": set(),
    "io": {"errors"},
    "structures": {"io"},
    "resources": {"io"},
    "descriptors": {"structures", "resources"},
    "surrogate": {"descriptors"},
    "bias": {"surrogate"},
    "selection": {"surrogate"},
    "validation": {"surrogate"},
    "labelling": {"surrogate"},
    "dynamics": {"bias"},
    "generation": {"dynamics", "selection"},
    "campaign": {"generation", "labelling", "validation"},
    "plots": {"campaign"},
    "cli": {"plots"},
    "testing": {"bias"},
}
"""What a wing may import, beside what these may: docs/architecture.md has the same table."""
STARTER = "__main__"
"""``python -m ase_bayesel``: starts the command, and belongs to no wing."""
MODULES = sorted(ROOT.rglob("*.py"))
HEAVY = ["torch", "ase", "matplotlib", "mace", "dask"]


def name_of(path):
    """Dotted parts inside the package, as ``("descriptors", "ace", "radial")``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports_of(path, functions=True):
    """Modules and names of this package that a module imports, as dotted parts.

    ``functions`` counts those within functions too, where an import waits for its use.
    """
    package = path.relative_to(ROOT).parts[:-1]
    tree = ast.parse(path.read_text())
    lazy = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.If)
        for node in ast.walk(function)
    }
    found = set()
    for node in ast.walk(tree):
        if not functions and node in lazy:
            continue
        if isinstance(node, ast.Import):
            absolute = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module.split(".") if node.module else []
            if node.level:
                base = ["ase_bayesel", *package[: len(package) - (node.level - 1)], *base]
            absolute = [[*base, alias.name] for alias in node.names]
        else:
            continue
        found |= {tuple(names[1:]) for names in absolute if names[0] == "ase_bayesel"}
    return found


def imported_wings(path):
    """Wings that a module imports anywhere, also within functions."""
    return {names[0] for names in imports_of(path) if names and names[0] in WINGS}


def allowed(wing):
    """All wings that a wing may import, itself included."""
    return {wing}.union(*(allowed(below) for below in WINGS[wing]))


def graph():
    """The modules and packages that each of them imports when it is loaded."""
    names = {name_of(path) for path in MODULES if name_of(path)}

    def module(parts):
        return next((parts[:k] for k in (len(parts), len(parts) - 1) if parts[:k] in names), None)

    return {
        name_of(path): {module(parts) for parts in imports_of(path, False)} - {None}
        for path in MODULES
        if name_of(path)
    }


def loaded_after(statement, names):
    code = f"import sys; {statement}; print(*[n for n in {names!r} if n in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_the_parser_sees_imports():
    assert {"descriptors", "errors", "structures"} <= imported_wings(
        ROOT / "surrogate" / "surrogate.py"
    )
    assert {"structures"} <= imported_wings(ROOT / "descriptors" / "ace" / "neighbours.py")
    assert {"errors"} <= imported_wings(ROOT / "descriptors" / "__init__.py")
    assert ("surrogate", "posterior") in graph()["surrogate", "surrogate"]


def test_there_are_the_wings_and_nothing_else():
    entries = {path.stem for path in ROOT.iterdir() if path.name != "__pycache__"}
    assert entries == {*WINGS, "templates", "py", "__init__", STARTER}


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if name_of(p) not in ((), (STARTER,))],
    ids=lambda p: ".".join(name_of(p)),
)
def test_a_wing_imports_what_the_table_allows(path):
    assert imported_wings(path) <= allowed(name_of(path)[0])


def test_the_documented_table_is_this_one():
    lines = (ROOT.parent / "docs" / "architecture.md").read_text().splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("| `")]
    table = {
        wing.strip(" `/").removesuffix(".py"): set(below.replace("`", "").replace(",", " ").split())
        for wing, _, below in (row for row in rows if len(row) == 3)
        if wing.strip(" `/").removesuffix(".py") in WINGS
    }
    assert table == WINGS


def test_the_path_of_a_structure_names_modules_that_are_there():
    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    path = page.split("## The path of one structure")[1].split("\n## ")[0]
    modules = re.findall(r"^\|[^|]*\| `([\w/]+\.py)` \|", path, re.MULTILINE)
    assert 10 < len(modules) <= 15
    assert all((ROOT / module).is_file() for module in modules)


def test_there_are_no_circles_of_imports():
    waiting = graph()
    while free := {name for name, below in waiting.items() if not below & waiting.keys()}:
        waiting = {name: below for name, below in waiting.items() if name not in free}
    assert waiting == {}


def test_importing_the_package_is_light():
    assert loaded_after("import ase_bayesel", HEAVY) == []


@pytest.mark.parametrize(
    "module",
    [
        *("errors", "io.bounded_npz", "bias.kinds", "bias.tau", "selection.methods"),
        *("surrogate.posterior", "surrogate.evidence", "surrogate.triangular"),
        *("dynamics.schedules", "dynamics.thermostat_check"),
    ],
)
def test_modules_of_plain_arrays(module):
    assert loaded_after(f"import ase_bayesel.{module}", HEAVY) == []


@pytest.mark.parametrize(
    "module",
    ["campaign.campaign", "cli.main", "cli.status", "cli.report", "descriptors.ace.derivatives"],
)
def test_what_the_command_shows_waits_for_no_network_package(module):
    assert loaded_after(f"import ase_bayesel.{module}", ["torch", "mace", "distributed"]) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda p: ".".join(name_of(p)) or "package")
def test_modules_are_short_and_described(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 350
    assert ast.get_docstring(ast.parse(text))


def definitions(parent):
    """Public functions, classes and methods of a module, each with what it stands in."""
    for node in parent.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node, parent
            if isinstance(node, ast.ClassDef):
                yield from definitions(node)


def n_parameters(node):
    """How many parameters a caller may give; self and cls are not among them."""
    arguments = node.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def lacks(node):
    """What the docstring of a function or class lacks, in words; None for nothing.

    The parameters of a class are those of its own ``__init__``.
    """
    text, function = ast.get_docstring(node), node
    if text is None:
        return "no docstring"
    if isinstance(node, ast.ClassDef):
        methods = (method for method in node.body if isinstance(method, ast.FunctionDef))
        function = next((method for method in methods if method.name == "__init__"), None)
    number = 0 if function is None else n_parameters(function)
    return None if number < 4 or "Parameters\n---" in text else f"no Parameters, takes {number}"


def described_elsewhere(module, parent, node):
    """Setters, commands (typer has a help text for each parameter), and what a base describes."""
    decorators = [ast.unparse(decorator) for decorator in getattr(node, "decorator_list", ())]
    if any(name.endswith(".setter") or name.startswith("app.command") for name in decorators):
        return True
    if not isinstance(parent, ast.ClassDef):
        return False
    try:
        kind = getattr(importlib.import_module(module), parent.name)
    except ImportError:  # the module is for a package that is not installed
        return True
    return any(getattr(vars(base).get(node.name), "__doc__", None) for base in kind.__mro__[1:])


def undescribed(path):
    """Public functions, classes and methods of a module, and what their docstrings lack."""
    module = ".".join(["ase_bayesel", *name_of(path)])
    return {
        f"{getattr(parent, 'name', '')}.{node.name}".lstrip("."): problem
        for node, parent in definitions(ast.parse(path.read_text()))
        if (problem := lacks(node)) and not described_elsewhere(module, parent, node)
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda p: ".".join(name_of(p)) or "package")
def test_what_is_public_is_described(path):
    """Each has a docstring; with four parameters or more, a section on them.

    A method may leave that to a class above; a constructor is described in its class.
    """
    assert undescribed(path) == {}


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


def test_no_test_module_imports_another():
    """What is shared lies in tests/helpers; file names are unique, as pytest wants them."""
    tests = sorted(Path(__file__).parent.rglob("test_*.py"))
    names = {path.stem for path in tests}
    assert len(names) == len(tests)
    for path in Path(__file__).parent.rglob("*.py"):
        text = path.read_text()
        named = re.findall(r"\b(?:from|import) (\w+)|\b(\w+):[A-Za-z]", text)
        assert not names & {name for pair in named for name in pair}, path


def test_what_imports_an_optional_package_is_marked():
    """CI chooses tests by the marker; without the packages the others fail if they need them."""
    skipping = [p for p in Path(__file__).parent.rglob("test_*.py") if p != Path(__file__)]
    skipping = [path for path in skipping if "importorskip" in path.read_text()]
    assert skipping
    for path in skipping:
        assert re.search(r"^pytestmark = .*(needs_|optional)", path.read_text(), re.M), path
