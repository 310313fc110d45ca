"""The campaign directory, which the package's docstring describes: nothing else writes it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import yaml
from ase import Atoms
from pydantic import TypeAdapter

from ..errors import StoreError
from ..io.atomic import npz_bytes, reading, write_atomically
from ..io.bounded_npz import real
from ..io.bounded_yaml import parse_yaml
from ..io.formats import CAMPAIGN
from ..io.locks import locked
from ..io.model_files import ModelFiles, copy_files
from ..labelling.store import LabelStore
from ..surrogate.row_store import RowStore
from ..validation.parity import Parity
from .events import RoundReport
from .exploration.saved import SavedExploration
from .pick_labels import PickLabel
from .small_files import HASH_SUFFIX, calibrated, check_kept, keep, read_json

if TYPE_CHECKING:
    from ..dynamics.recording import Recording, RoundRecorder
    from ..surrogate.surrogate import Surrogate
    from .exploration.picks import Pick

REPORT = TypeAdapter(RoundReport)
LABELLED = TypeAdapter(dict[Literal["picks"], list[PickLabel]])


class Store:
    """Paths, reading and atomic writing of one campaign directory.

    Raises
    ------
    StoreError
        If the directory holds a campaign of another version.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory).absolute()  # tasks elsewhere get paths of it
        if self.exists:
            self._check_format()

    # -- config and inputs ---------------------------------------------------

    @property
    def config_path(self) -> Path:
        """The resolved config; it marks the directory as complete."""
        return self.directory / "config.yaml"

    @property
    def exists(self) -> bool:
        """Whether the directory holds a campaign."""
        return self.config_path.is_file()

    def create(
        self,
        config: Mapping[str, Any],
        inputs: Mapping[str, Sequence[Atoms]],
        prior: Path | None = None,
    ) -> None:
        """Set up the directory; the format comes first, the config last: it is complete then.

        ``inputs`` are structures by name, ``prior`` is the surrogate to start from, if any.
        """
        from ..structures.frames import extxyz_bytes

        write_atomically(self._format_path, f"{CAMPAIGN}\n".encode())
        for stale in (self.directory / "inputs").glob("*.*"):
            if stale.suffix in (".extxyz", HASH_SUFFIX) or stale == self.prior_path:
                stale.unlink()
        if prior is not None:
            write_atomically(self.prior_path, prior.read_bytes())
        for name, frames in inputs.items():
            keep(self.input_path(name), extxyz_bytes(frames, name))
        self.write_config(config)

    @property
    def _format_path(self) -> Path:
        return self.directory / "format"

    def _check_format(self) -> None:
        path = self._format_path
        try:
            stated = path.read_text().strip() if path.exists() else None
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: is damaged ({error})") from error
        version = CAMPAIGN.version_of(stated)
        if version is not None and version < CAMPAIGN.oldest:
            raise StoreError(
                f"{self.directory}: holds a campaign of an older ase_bayesel; finish it with that "
                "one, or start a new campaign in another directory with "
                f"labels.store: {self.used_labels().directory}, so that no label is paid for twice"
            )
        CAMPAIGN.check(stated, path)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Replace the config."""
        write_atomically(self.config_path, yaml.safe_dump(dict(config), sort_keys=False).encode())

    def read_config(self) -> dict[str, Any]:
        """The config as plain values, not validated.

        Raises
        ------
        StoreError
            If the file is damaged.
        """
        try:
            raw = parse_yaml(self.config_path.read_text())
        except Exception as error:  # PyYAML raises anything on values that a tag does not fit
            raise StoreError(f"{self.config_path}: cannot be read ({error})") from error
        if not isinstance(raw, dict):
            raise StoreError(f"{self.config_path}: is damaged (no sections)")
        return raw

    def read_input(self, name: str) -> list[Atoms]:
        """The stored copy of an input; empty if the campaign has none of that name."""
        from ..structures.frames import read_frames

        check_kept(self.input_path(name))
        return read_frames(path) if (path := self.input_path(name)).exists() else []

    def input_path(self, name: str) -> Path:
        """Where the copy of an input lies."""
        return self.directory / "inputs" / f"{name}.extxyz"

    @property
    def rows(self) -> RowStore:
        """Rows of the training set, which the fits of all rounds share; it may be deleted."""
        return RowStore(self.directory / "rows")

    @property
    def prior_path(self) -> Path:
        """The stored copy of a surrogate that was given as prior data."""
        return self.directory / "inputs" / "prior.npz"

    def save_settings(self, name: str) -> None:
        """Keep the name of the settings in which structures are labelled first."""
        write_atomically(self.directory / "settings.json", json.dumps(name).encode())

    def read_settings(self) -> str | None:
        """The name of the settings, None where nothing was labelled yet."""
        return read_json(self.directory / "settings.json", str)

    def save_thresholds(self, thresholds: Sequence[float]) -> None:
        """Keep the calibrated thresholds, from left to right in the config."""
        content = json.dumps({"calibrated": list(thresholds)}).encode()
        write_atomically(self.directory / "thresholds.json", content)

    def read_thresholds(self) -> list[float] | None:
        """The calibrated thresholds, None where nothing was calibrated yet."""
        return read_json(self.directory / "thresholds.json", calibrated)

    def lock(self) -> AbstractContextManager[Callable[[], bool]]:
        """Work here alone, see `locked`; a `LockedError` names who else does."""
        return locked(self.directory / "lock")

    def log_changes(self, changes: Sequence[Mapping[str, Any]]) -> None:
        """Add to the record of changes of the config."""
        path = self.directory / "changes.jsonl"
        before = path.read_bytes() if path.exists() else b""
        write_atomically(path, before + "".join(f"{json.dumps(c)}\n" for c in changes).encode())

    # -- rounds --------------------------------------------------------------

    def round_directory(self, number: int) -> Path:
        """Where the files of a round lie."""
        return self.directory / f"round_{number:04d}"

    def explored_before(self, number: int) -> int:
        """How often a round has been explored in vain under other settings (`reopen_round`)."""
        return len(list(self.directory.glob(f"{self.round_directory(number).name}_empty_*")))

    def reopen_round(self, number: int, calibrate: bool) -> None:
        """Move a round without picks aside, and the thresholds too if they are to be found anew."""
        directory, thresholds = self.round_directory(number), self.directory / "thresholds.json"
        if calibrate and thresholds.exists():
            thresholds.replace(directory / thresholds.name)
        name = f"{directory.name}_empty_{self.explored_before(number) + 1}"
        directory.rename(directory.with_name(name))

    def completed_rounds(self) -> int:
        """How many rounds are done, round 0 included."""
        number = 0
        while (self.round_directory(number) / "DONE").exists():
            number += 1
        return number

    def exploration(self, number: int) -> SavedExploration:
        """Where the exploration of a round is kept."""
        return SavedExploration(self.round_directory(number))

    def recorder(self, number: int, recording: Recording, steps: Sequence[int]) -> RoundRecorder:
        """Writes the trajectories and the log of a round; ``steps`` are those of its walkers."""
        from ..dynamics.recording import RoundRecorder

        return RoundRecorder(self.round_directory(number), recording, steps)

    def read_log(self, number: int) -> np.ndarray:
        """The log of a round's walkers, see `recording.LOG_DTYPE`; empty if there is none."""
        from ..dynamics.recording import read_log

        return read_log(self.round_directory(number) / "log")

    def batch_path(self, number: int) -> Path:
        """Where the picks of a round lie once its exploration has ended."""
        return self.round_directory(number) / "to_label.extxyz"

    def by_hand_path(self, number: int) -> Path:
        """Where a user who labels by hand puts the labelled batch."""
        return self.round_directory(number) / "labelled.extxyz"

    def write_batch(self, number: int, picks: Sequence[Pick]) -> None:
        """Write the picks of a round in order; a batch that is there stays."""
        from .exploration.pick_files import pick_bytes

        if not self.batch_path(number).exists():
            write_atomically(self.batch_path(number), pick_bytes(*picks))

    def read_batch(self, number: int) -> list[Atoms]:
        """The frames of a round's picks in order; empty if nothing was picked."""
        from ..structures.frames import read_frames

        path = self.batch_path(number)
        return read_frames(path, apart=False) if path.exists() and path.stat().st_size else []

    def save_labelled(self, number: int, labelled: Sequence[PickLabel]) -> None:
        """Note for each pick of a round, in order, in which settings it is labelled."""
        content = json.dumps({"picks": labelled}).encode()
        write_atomically(self.round_directory(number) / "labelled.json", content)

    def read_labelled(self, number: int) -> list[PickLabel]:
        """What became of each pick of a round, in order."""
        if not (path := self.round_directory(number) / "labelled.json").exists():
            return []
        try:
            return LABELLED.validate_json(path.read_bytes())["picks"]
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: is damaged ({error})") from error

    def set_aside(self, number: int) -> list[str]:
        """Picks of a round for which there is no label."""
        return [pick.identity for pick in self.read_labelled(number) if pick.settings is None]

    @property
    def labels(self) -> LabelStore:
        """Labels of this campaign alone; those that a user put in place are always here."""
        return LabelStore(self.directory / "labels")

    def used_labels(self) -> LabelStore:
        """The labels that the config names, which campaigns may share."""
        section = self.read_config().get("labels")
        shared = section.get("store") if isinstance(section, dict) else None
        return LabelStore(shared) if isinstance(shared, str) else self.labels

    # -- end of a round ------------------------------------------------------

    def save_model(self, number: int, surrogate: Surrogate, fitted: Surrogate) -> None:
        """Keep the surrogate of a round, and what was fitted where that is not all it knows."""
        place = self.round_directory(number) / "fitted.npz"
        place.unlink(missing_ok=True)
        models = {place: fitted} if fitted.posterior is not surrogate.posterior else {}
        for path, model in {**models, self.model_path(number): surrogate}.items():
            model.save(buffer := io.BytesIO())
            write_atomically(path, buffer.getvalue())

    def fitted_path(self, number: int) -> Path:
        """The surrogate of a round that knows nothing but labels."""
        path = self.round_directory(number) / "fitted.npz"
        return path if path.exists() else self.model_path(number)

    def refit_directory(self, number: int) -> Path:
        """Belongs to the refit of a round, which writes there itself."""
        return self.round_directory(number) / "refit"

    def save_potential(self, number: int, model: ModelFiles) -> None:
        """Keep a copy of the potential of a round."""
        copy_files(model, self.round_directory(number), "potential")

    def potential_path(self, number: int) -> Path | None:
        """The model of the potential that a round ended with, None if it has none.

        A potential that was not refitted lies with the round that brought it.
        """
        for k in range(number, -1, -1):
            for path in self.round_directory(k).glob("potential*"):
                return path
        return None

    def model_path(self, number: int) -> Path:
        """The surrogate that a round ended with."""
        return self.round_directory(number) / "model.npz"

    def pick_errors_path(self, number: int) -> Path:
        """What the model before said of the picks of a round, beside their labels."""
        return self.round_directory(number) / "pick_errors.npz"

    def finish_round(self, report: RoundReport, parity: Parity | None) -> None:
        """Write the report and, last of all, DONE."""
        place, content = self.round_directory(report.round_number), asdict(report)
        if parity is not None:
            write_atomically(place / "parity.npz", npz_bytes(asdict(parity)))
        write_atomically(place / "report.json", json.dumps(content, indent=2).encode())
        write_atomically(place / "DONE", b"")

    def read_report(self, number: int) -> RoundReport:
        """The report of a round.

        Raises
        ------
        StoreError
            If the file is missing or damaged.
        """
        path = self.round_directory(number) / "report.json"
        try:
            return REPORT.validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: is damaged ({error})") from error

    def read_parity(self, number: int) -> Parity | None:
        """Test labels beside predictions after a round; None without a test set.

        Raises
        ------
        StoreError
            If the file is damaged.
        """
        if not (path := self.round_directory(number) / "parity.npz").exists():
            return None
        with reading(path) as data:
            return Parity(**{key: real(data[key], (None,)) for key in data.files})

    def write_page(self, name: str, page: str) -> Path:
        """Write a page of the report; returns its path."""
        write_atomically(self.directory / name, page.encode())
        return self.directory / name
