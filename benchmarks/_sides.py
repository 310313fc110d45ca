"""Processes that do the same in turn: other checkouts, environments or switches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]


def answer(job: Callable[[str], Any]) -> None:
    """Be the process of a `Side`: do what each line asks for."""
    for line in sys.stdin:
        print("RESULT " + json.dumps(job(line.strip())), flush=True)


class Side:
    """A process that runs the code of one checkout, by default in this environment."""

    def __init__(
        self, checkout: Path, script: str, options: Sequence[str], python: str = sys.executable
    ) -> None:
        searched = os.pathsep.join([str(checkout), str(checkout / "tests")])
        self._process = subprocess.Popen(
            [python, "-W", "ignore", script, *options],
            env=os.environ | {"PYTHONPATH": searched},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, way: str) -> Any:
        """What the script prints in answer to a line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{way}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("RESULT "):
                return json.loads(line.removeprefix("RESULT "))
        raise SystemExit("a side has died, see above")

    def close(self) -> None:
        self._process.kill()


def in_turns(sides: Sequence[Side], lines: Sequence[str]) -> list[list[Any]]:
    """Answers to each line, of all sides; they are asked there and back (ABC, CBA)."""
    found = []
    for k, line in enumerate(lines):
        order = list(range(len(sides)))[:: 1 if k % 2 == 0 else -1]
        answers = {i: sides[i].ask(line) for i in order}
        found.append([answers[i] for i in range(len(sides))])
    return found
