"""docs/how-to/choose_from_a_pool.md: its blocks run in their order, on a smaller pool."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers.browser import browser, needs_browser
from helpers.command_line import call

pytestmark = [pytest.mark.optional("kmedoids"), pytest.mark.slow]
PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "choose_from_a_pool.md").read_text()
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SMALL = [{"kind": "rattle", "amplitudes_A": [0.05, 0.2], "copies": 3}]
FEWER = {"-n 20": "-n 6", "-n 100": "-n 4", "Au,3,10,5.5": "Au,2,5,4.0"}


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """The folder after all blocks of the page, with fewer structures and features."""
    folder = tmp_path_factory.mktemp("choose")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for language, block in BLOCKS:
            if language == "python":
                exec(compile(block, "choose_from_a_pool.md", "exec"), {})
                continue
            for line in block.splitlines():
                for long, short in FEWER.items():
                    line = line.replace(long, short)
                program, *words = shlex.split(line)
                if program == "cat":
                    subprocess.run(line, shell=True, check=True)
                    continue
                assert program == "bayesel"
                result = call(*words)
                assert result.exit_code == 0, (line, result.output)
                if "--job pool" in line:
                    settings = yaml.safe_load((folder / "pool.yaml").read_text())
                    settings["recipes"] = SMALL
                    settings["descriptor"] |= {"order": 2, "totaldegree": 5, "cutoff": 4.0}
                    (folder / "pool.yaml").write_text(yaml.safe_dump(settings))
                if "init potential.yaml" in line:
                    settings = yaml.safe_load((folder / "potential.yaml").read_text())
                    settings["explore"] |= {"steps": 20, "walkers": 2, "picks": 2}
                    settings["descriptor"] |= {"order": 2, "totaldegree": 5, "cutoff": 4.0}
                    settings["stop"]["max_rounds"] = 1
                    (folder / "potential.yaml").write_text(yaml.safe_dump(settings))
    return folder


def test_the_page_ends_in_its_files(chosen):
    for name in (
        "first.html",
        "core.xyz",
        "picks_i_optimal.xyz",
        "picks_k_medoids.xyz",
        "CuAu.npz",
    ):
        assert name in PAGE
        assert (chosen / name).is_file()


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1600])
def test_the_page_is_whole_in_a_browser(chosen, tmp_path, width, scheme):
    with browser(tmp_path) as opened:
        opened.open(chosen / "picks.html", width, scheme=scheme)
        assert opened.complaints() == []
        assert opened.value("document.documentElement.scrollWidth") <= width
        sizes = "[...document.querySelectorAll('figure svg')].map((f) => f.clientWidth)"
        assert min(opened.value(sizes)) > 250
        first = "document.querySelector('#picks1 tbody tr:not([hidden]) td').textContent"
        assert opened.value(first) == "1"
        outside = (
            "[...document.querySelectorAll('table')].filter(t => !t.closest('.scroll')).length"
        )
        assert opened.value(outside) == 0
        if width == 1600:
            boxes = "[...document.querySelectorAll('.scroll')]"
            cut = f"{boxes}.filter(b => b.scrollWidth > b.clientWidth).length"
            assert opened.value(cut) == 0
            tops = (
                "[...document.querySelectorAll('figure')].map(f => f.getBoundingClientRect().top)"
            )
            _, mapped, scored, *_ = opened.value(tops)
            assert mapped == scored
