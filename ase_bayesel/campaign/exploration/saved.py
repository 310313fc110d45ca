"""A round's exploration on disk: what it goes on with after a kill.

Counts and endings are read without what moves walkers.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from ...io.atomic import npz_bytes, reading, write_atomically
from ...io.bounded_npz import real
from .trace import (
    PICKED,
    STEP,
    TAU,
    TEMPERATURE,
    TRACE_COLUMNS,
    WALKER,
    Ending,
    all_failed,
    endings_of,
)

if TYPE_CHECKING:
    from ...dynamics.driver_state import DriverState
    from ...surrogate.posterior import Posterior
    from .picks import Pick
    from .state import ExploreState


class SavedExploration:
    """The files of a round's exploration, in the ``directory`` of the round."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "explore.npz"

    def save(self, state: ExploreState, posterior: Posterior) -> None:
        """Write the state between two barriers; the last pick's own file first."""
        from .pick_files import candidate_bytes, pick_bytes
        from .records import record_of

        for k, pick in enumerate(state.picks):
            path = self.pick_path(k, pick.structure_id)
            if not path.exists():
                write_atomically(path, pick_bytes(pick))
        buffer = io.BytesIO()
        posterior.save(buffer)
        records = [record_of(walker) for walker in state.walkers]
        arrays: dict[str, Any] = {
            "meta": json.dumps(
                {
                    "turn": state.turn,
                    "picks": [pick.structure_id for pick in state.picks],
                    "walkers": [meta for meta, _ in records],
                }
            ),
            "trace": state.trace,
            "candidates": np.frombuffer(candidate_bytes(state.candidates), np.uint8),
            "posterior": np.frombuffer(buffer.getvalue(), np.uint8),
        }
        for k, (_, of_walker) in enumerate(records):
            arrays |= {f"{name}_{k}": array for name, array in of_walker.items()}
        write_atomically(self.path, npz_bytes(arrays))

    def load(self, starts: Sequence[Atoms]) -> tuple[ExploreState, Posterior] | None:
        """The saved state of a round, or None if it has not begun.

        ``starts`` are the walkers' start structures, for what does not change in MD.
        """
        from ...surrogate.posterior import Posterior
        from .pick_files import candidates_from
        from .records import walker_from
        from .state import ExploreState

        if not self.path.exists():
            return None
        with reading(self.path) as data:
            meta = json.loads(str(data["meta"]))
            pairs = enumerate(zip(starts, meta["walkers"], strict=True))
            walkers = [walker_from(start, entry, _of(data, k)) for k, (start, entry) in pairs]
            posterior = Posterior.load(io.BytesIO(data["posterior"].tobytes()), self.path)
            trace = real(data["trace"], (None, len(TRACE_COLUMNS)), finite=False)
            turn = int(meta["turn"])
            candidates = candidates_from(data["candidates"].tobytes(), self.path)
            names = _picked(meta)
        picks = self._picks(names, trace)
        return ExploreState(tuple(walkers), turn, picks, trace, candidates), posterior

    def _picks(self, names: Sequence[str], trace: np.ndarray) -> tuple[Pick, ...]:
        return tuple(self._pick(k, name, trace) for k, name in enumerate(names))

    def _pick(self, number: int, identity: str, trace: np.ndarray) -> Pick:
        """A pick from its file; the trace has the temperature and tau of its walker."""
        from .pick_files import read_pick

        pick = read_pick(self.pick_path(number, identity))
        rows = trace[(trace[:, WALKER] == pick.walker) & (trace[:, STEP] == pick.step)]
        for row in rows[rows[:, PICKED] > 0]:
            pick = replace(pick, temperature_K=float(row[TEMPERATURE]), tau=float(row[TAU]))
        return pick

    def count_picks(self) -> int:
        """Picks of a round so far, also while it is exploring."""
        if not self.path.exists():
            return 0
        with reading(self.path) as data:
            return len(_picked(json.loads(str(data["meta"]))))

    def read_picks(self) -> tuple[Pick, ...]:
        """The picks of a round so far, in order."""
        if not self.path.exists():
            return ()
        with reading(self.path) as data:
            names = _picked(json.loads(str(data["meta"])))
        return self._picks(names, self.read_trace())

    def read_drivers(self) -> tuple[DriverState, ...]:
        """What the integrators of a round's walkers have counted so far, by walker."""
        from ...dynamics.driver_state import DriverState

        if not self.path.exists():
            return ()
        with reading(self.path) as data:
            drivers = [walker["driver"] for walker in json.loads(str(data["meta"]))["walkers"]]
            return tuple(
                DriverState() if raw is None else DriverState.from_json(raw) for raw in drivers
            )

    def read_endings(self) -> tuple[Ending, ...]:
        """How walkers of a round were stopped so far."""
        return self._read_failures()[0]

    def has_failed(self) -> bool:
        """Whether all walkers of a round have failed and left nothing behind."""
        return self._read_failures()[1]

    def _read_failures(self) -> tuple[tuple[Ending, ...], bool]:
        if not self.path.exists():
            return (), False
        with reading(self.path) as data:
            meta = json.loads(str(data["meta"]))
            found = bool(meta["picks"]) or data["candidates"].size > 0
            endings = endings_of(
                (int(walker["step"]), str(walker["status"]), str(walker.get("message", "")))
                for walker in meta["walkers"]
            )
            return endings, not found and all_failed(endings, len(meta["walkers"]))

    def read_trace(self) -> np.ndarray:
        """The trace of a round's exploration, ``(n, 7)``; see `TRACE_COLUMNS`."""
        if not self.path.exists():
            return np.zeros((0, len(TRACE_COLUMNS)))
        with reading(self.path) as data:
            return real(data["trace"], (None, len(TRACE_COLUMNS)), finite=False)

    def pick_path(self, number: int, identity: str) -> Path:
        """The file of a pick, by its place in the batch and the id of its structure."""
        return self.directory / "picks" / f"{number:03d}_{identity}.extxyz"


def _of(data: Any, walker: int) -> dict[str, np.ndarray]:
    """A walker's own arrays of a saved exploration."""
    end = f"_{walker}"
    return {name.removesuffix(end): data[name] for name in data.files if name.endswith(end)}


def _picked(meta: Any) -> list[str]:
    """The names of the picks of a saved exploration, in order."""
    return [str(name) for name in meta["picks"]]
