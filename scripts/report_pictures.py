"""Picture reports for docs/how-to/read_the_report.md.

python scripts/report_pictures.py                # runs both campaigns
python scripts/report_pictures.py --silicon DIR  # of the finished silicon example
python scripts/report_pictures.py --copper DIR   # of the finished campaign of `many_rounds`

The silicon example gives head and picks. Copper with many quick rounds gives the page after 1, 10
and 50 of them, wide and narrow, light and dark.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from ase_bayesel import Campaign, load_config
from ase_bayesel.campaign.store import Store
from ase_bayesel.cli.report import write_report
from ase_bayesel.resources.threads import cpu_threads

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from helpers.browser import browser  # noqa: E402

DOCS = ROOT / "docs"
PICTURES = {"report_light.png": ("light", "h1"), "report_dark.png": ("dark", "#viewer")}
"""Of the silicon example: scheme of each, and what it begins with."""
WIDTH, HEIGHT = 1000, 760
ROUNDS = (1, 10, 50)
WIDTHS = {"wide": (1600, 1500, 0.5), "narrow": (320, 1000, 0.75)}
"""Width and height of a picture in CSS pixels, and the scale at which it is kept."""
SCHEMES = ("light", "dark")


def many_rounds(folder: Path) -> Path:
    """A config of copper whose 50 rounds take a second or two each."""
    config = folder / "copper.yaml"
    init = [Path(sys.executable).with_name("bayesel"), "init", config, "--elements", "Cu"]
    subprocess.run([*map(str, init), "--engine", "emt"], check=True, capture_output=True)
    settings = yaml.safe_load(config.read_text())
    settings["descriptor"]["totaldegree"] = 8
    settings["data"]["train"]["bootstrap"] |= {"strained": 5, "rattled": 5}
    settings["explore"] |= {"walkers": 2, "steps": 60, "picks": 1, "offers": "always"}
    settings["workers"] = {"labelling": {"kind": "here"}}
    settings["stop"] = {"max_rounds": max(ROUNDS)}
    config.write_text(yaml.safe_dump(settings))
    return config


def run_to_the_end(config: Path, directory: Path) -> None:
    settings = load_config(config)
    with cpu_threads(settings.threads):
        for _ in Campaign(settings, directory).run():
            pass


def page_after(directory: Path, number: int, folder: Path) -> Path:
    """The report of a copy of a campaign that knows no later round."""
    target = folder / f"round_{number}" / "copper_campaign"
    target.mkdir(parents=True)
    for path in directory.iterdir():
        name = path.name
        if name.startswith("round_") and int(name.split("_")[1]) > number:
            continue
        if path.is_dir():
            (target / name).symlink_to(path.resolve())
        else:
            (target / name).write_bytes(path.read_bytes())
    stored = target / "config.yaml"
    settings = yaml.safe_load(stored.read_text())
    settings["stop"]["max_rounds"] = number
    stored.write_text(yaml.safe_dump(settings))
    return without_path(write_report(Store(target)), target)


def without_path(report: Path, directory: Path) -> Path:
    """The page, with the campaign's name in place of where it lies."""
    text = report.read_text()
    for path in {str(directory), str(directory.resolve())}:
        text = text.replace(path, directory.name)
    report.write_text(text)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--silicon", type=Path)
    parser.add_argument("--copper", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        silicon, copper = given.silicon, given.copper
        if silicon is None and copper is None:
            silicon, copper = folder / "silicon", folder / "copper_campaign"
            run_to_the_end(ROOT / "examples/silicon/config.yaml", silicon)
            run_to_the_end(many_rounds(folder), copper)
        (folder / "browser").mkdir()
        with browser(folder / "browser") as page:
            if silicon is not None:
                report = without_path(write_report(Store(silicon)), silicon)
                for name, (scheme, first) in PICTURES.items():
                    page.open(report, WIDTH, scheme=scheme)
                    top = page.value(f"document.querySelector('{first}').getBoundingClientRect().y")
                    page.picture(DOCS / name, HEIGHT, max(0, top - 20))
            for number in ROUNDS if copper is not None else ():
                report = page_after(copper, number, folder)
                for kind, (width, height, scale) in WIDTHS.items():
                    for scheme in SCHEMES:
                        page.open(report, width, scheme=scheme)
                        target = DOCS / f"report_{number}_{kind}_{scheme}.png"
                        page.picture(target, height, scale=scale)


if __name__ == "__main__":
    main()
