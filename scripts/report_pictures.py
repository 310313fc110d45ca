"""Run the silicon example and picture its report for docs/how-to/read_the_report.md.

python scripts/report_pictures.py [CAMPAIGN]     # of a finished campaign, or runs the example
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from ase_bayesel import Campaign, load_config
from ase_bayesel.campaign.store import Store
from ase_bayesel.cli.report import write_report
from ase_bayesel.resources.threads import cpu_threads

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from helpers.browser import browser  # noqa: E402

PICTURES = {"report_light.png": ("light", "h1"), "report_dark.png": ("dark", "#viewer")}
"""Scheme of each, and what it begins with."""
WIDTH, HEIGHT = 1000, 760


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch) / "silicon"
        if len(sys.argv) == 1:
            config = load_config(ROOT / "examples/silicon/config.yaml")
            with cpu_threads(config.threads):
                for _ in Campaign(config, directory).run():
                    pass
        report = write_report(Store(directory))
        report.write_text(report.read_text().replace(str(directory.resolve()), directory.name))
        (Path(scratch) / "browser").mkdir()
        with browser(Path(scratch) / "browser") as page:
            for name, (scheme, first) in PICTURES.items():
                page.open(report, WIDTH, scheme=scheme)
                top = page.value(f"document.querySelector('{first}').getBoundingClientRect().y")
                page.picture(ROOT / "docs" / name, HEIGHT, max(0, top - 20))


if __name__ == "__main__":
    main()
