"""What a wheel holds, and the workflow that builds one."""

import re
from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ase_bayesel"
SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_every_file_of_the_package_is_declared():
    patterns = re.split(r",\s*", SETUP["options.package_data"]["ase_bayesel"])
    files = [p for p in PACKAGE.rglob("*") if p.is_file() and p.suffix != ".py"]
    files = [p for p in files if p.parent.name != "__pycache__"]
    names = [path.relative_to(PACKAGE).as_posix() for path in files]
    assert "py.typed" in names
    assert [name for name in names if not any(fnmatch(name, p) for p in patterns)] == []


def test_every_folder_of_the_package_is_a_package():
    for path in PACKAGE.rglob("*.py"):
        assert (path.parent / "__init__.py").is_file(), path.parent


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_what_actions_read(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow.keys() >= {"name", True, "jobs"}  # YAML 1.1 reads `on` as true
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        assert set(job.get("needs", ())) <= set(workflow["jobs"])
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[\w./-]+", step.get("uses", "a/b@v1")), step


def test_the_workflow_asks_for_extras_and_versions_that_there_are():
    text = (ROOT / ".github" / "workflows" / "checks.yml").read_text()
    for extras in re.findall(r"\[([a-z,]+)\]'", text):
        assert set(extras.split(",")) <= set(SETUP["options.extras_require"])
    tested = yaml.safe_load(text)["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert f">={tested[0]}" == SETUP["options"]["python_requires"]
