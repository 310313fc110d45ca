"""Code blocks of the pages, and what is done with each kind."""

import re
import shlex
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import typer
import yaml
from typer.main import get_command

from ase_bayesel.campaign.config.generation import PoolConfig
from ase_bayesel.campaign.config.loading import validate_config
from ase_bayesel.cli import main as cli
from ase_bayesel.cli.check import CheckConfig
from helpers.campaigns import CAMPAIGN
from helpers.command_line import call

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>.+?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_SCRIPT = re.compile(r"(?:scripts|examples|benchmarks)/[\w/]+\.py")
_OURS = re.compile(rf"(?:^|[\s/])bayesel |{_SCRIPT.pattern}")
_BASE = CAMPAIGN | {"potential": {"kind": "import", "factory": "ase.calculators.emt:EMT"}}
SCHEMAS = {"crystal": CheckConfig, "recipes": PoolConfig}
"""Which config it is, by a section that only this one has; a campaign's otherwise."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    ``why`` is the reason for which it is not run, from the comment before it; None without one.
    """

    language: str
    code: str
    why: str | None


def blocks(page: Path) -> list[Block]:
    return [
        Block(found["language"], found["code"], found["why"])
        for found in _BLOCK.finditer(page.read_text())
    ]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT).as_posix())


def command_lines(code: str) -> list[list[str]]:
    """The words of each line with `bayesel` or a script; continued lines are one."""
    lines = code.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if _OURS.search(line)]


def bayesel_arguments(words: list[str]) -> list[str] | None:
    """What follows `bayesel`, also behind a path, `srun` and the like; None for other programs."""
    for k, word in enumerate(words):
        if Path(word).name == "bayesel":
            return words[k + 1 :]
    return None


def run(block: Block, namespace: dict) -> None:
    """Python in the namespace, `bayesel` in this process; other programs are refused."""
    if block.language == "python":
        exec(compile(block.code, "page", "exec"), namespace)
        return
    lines = command_lines(block.code)
    others = [line for line in block.code.splitlines() if not line.startswith(("bayesel ", " "))]
    assert lines
    assert not others, f"{others}: mark the block as not run"
    for words in lines:
        result = call(*words[1:])
        assert result.exit_code == 0, result.output


def check_words(code: str) -> None:
    """Each `bayesel` has a command and options that there are, and scripts exist."""
    for words in command_lines(code):
        arguments = bayesel_arguments(words)
        if arguments is not None:
            name, *rest = arguments
            with suppress(typer.Exit):  # of an option that only tells something
                get_command(cli.app).commands[name].make_context(name, rest)
        for script in _SCRIPT.findall(" ".join(words)):
            assert (ROOT / script).is_file(), script


def check_config(code: str) -> None:
    """A whole config, or some sections of one, in place of those of a small campaign."""
    sections = yaml.safe_load(code) or {}
    schema = next((SCHEMAS[key] for key in SCHEMAS if key in sections), None)
    if schema is not None:
        validate_config(sections, "page", schema=schema)
        return
    whole = sections.keys() >= {"descriptor", "data", "explore", "labelling"}
    settings = {} if whole else deepcopy(CAMPAIGN)
    for key, section in sections.items():
        part = isinstance(section, dict) and "kind" not in section
        settings[key] = {**_BASE.get(key, {}), **section} if part and not whole else section
    validate_config(settings, "page")
