"""Status and resume of a campaign with few and with many labels: seconds and memory.

    OMP_NUM_THREADS=1 python benchmarks/label_store.py

Each figure is of a process of its own: its start, with all imports, and the action. The
campaigns are taken in turn, and the median is shown.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from helpers.campaigns import write_campaign, write_config
from helpers.many_labels import grown

from ase_bayesel import Campaign
from ase_bayesel.campaign.config.loading import load_config

COUNTS = (100, 10_000)
REPEATS = 5
ENDLESS = {
    "stop": {"max_rounds": 10_000, "max_labels": 20_000},
    "explore.trigger.threshold": 1e9,
    "explore.steps": 1_000_000,
}
STATUS = """
from ase_bayesel.cli.main import app
app(["status", sys.argv[1], "-d", sys.argv[2]], standalone_mode=False)
"""
RESUME = """
from itertools import islice
from pathlib import Path
from ase_bayesel import Campaign
from ase_bayesel.campaign.config.loading import load_config
events = Campaign(load_config(Path(sys.argv[1])), sys.argv[2]).run()
list(islice(events, 3))
events.close()
"""
IMPORTS = "import ase_bayesel.campaign.campaign, ase_bayesel.descriptors.ace"
ACTIONS = {"status": STATUS, "resume": RESUME, "imports of resume": IMPORTS}
PEAK = """
from pathlib import Path
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")), file=sys.stderr)
"""


def measured(code, config):
    """Seconds of a process of its own, and its largest memory in MiB (Linux)."""
    command = [sys.executable, "-c", f"import sys\n{code}\n{PEAK}"]
    command += [str(config), str(config.with_name("campaign"))]
    begin = time.perf_counter()
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - begin, int(run.stderr.split()[-1]) / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        first = write_campaign(Path(folder) / "first", {"stop.max_rounds": 1})
        list(Campaign(load_config(first), first.with_name("campaign")).run())
        configs = {n: grown(first, Path(folder), n) for n in COUNTS}
        for config in configs.values():
            write_config(config.parent, ENDLESS)
        found = {}
        for _ in range(REPEATS):
            for n, config in configs.items():
                for name, code in ACTIONS.items():
                    found.setdefault((name, n), []).append(measured(code, config))
    print("| | labels | seconds | MiB |")
    print("|---|---|---|---|")
    for (name, n), pairs in found.items():
        seconds, memory = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"| {name} | {n} | {seconds:.2f} | {memory:.0f} |")


if __name__ == "__main__":
    main()
