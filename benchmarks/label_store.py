"""Status and resume of a campaign with few and with many labels: seconds and memory.

    OMP_NUM_THREADS=1 python benchmarks/label_store.py

Each figure is of a process of its own: its start, with all imports, and the action. The
campaigns are taken in turn, and the median is shown.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from many_labels import grown
from systems import write_campaign, write_config

from ase_bayesel import Campaign
from ase_bayesel.config import load_config

COUNTS = (100, 10_000)
REPEATS = 5
ENDLESS = {
    "stop": {"max_rounds": 10_000, "max_labels": 20_000},
    "explore.trigger.threshold": 1e9,
    "explore.steps": 1_000_000,
}
RESUME = """
import sys
from itertools import islice
from pathlib import Path
from ase_bayesel import Campaign
from ase_bayesel.config import load_config
config = Path(sys.argv[1])
events = Campaign(load_config(config), config.with_name("campaign")).run()
list(islice(events, 3))
events.close()
"""
IMPORTS = "import ase_bayesel.campaign, ase_bayesel.descriptors.ace"
ACTIONS = {
    "status": [str(Path(sys.executable).with_name("bayesel")), "status", "{}", "-d", "{dir}"],
    "resume": [sys.executable, "-c", RESUME, "{}"],
    "imports alone": [sys.executable, "-c", IMPORTS],
}


def measured(command):
    """Seconds of a process, and its largest memory in MiB."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
    assert status == 0
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


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
                for name, parts in ACTIONS.items():
                    named = {"{}": str(config), "{dir}": str(config.with_name("campaign"))}
                    command = [named.get(part, part) for part in parts]
                    found.setdefault((name, n), []).append(measured(command))
    print("| | labels | seconds | MiB |")
    print("|---|---|---|---|")
    for (name, n), pairs in found.items():
        seconds, memory = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"| {name} | {n} | {seconds:.2f} | {memory:.0f} |")


if __name__ == "__main__":
    main()
