"""What ``mace_run_train`` is given as arguments, and what it leaves behind."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path

from ...errors import ConfigError
from ...io.words import rounded

HEAD = "Default"
"""What mace calls the one head of a training that names none."""
FIELDS = ("freeze", "lora", "lora_rank", "lora_alpha", "pt_train_file", "weight_pt_head")
"""Options of mace's that have keys of their own in a config."""
EPOCH = re.compile(r"Epoch (\d+): head: (\S+), (.*)")
ERROR = re.compile(r"(?:RMSE|MAE)_(E_per_atom|E|F)= *([\d.]+) meV")
UNITS = {"E_per_atom": "meV/atom", "E": "meV", "F": "meV/A"}
ACCELERATED = ("enable_cueq", "enable_oeq")

Settings = Mapping[str, str | float | bool]


def check_options(ours: Settings, options: Settings) -> None:
    """Refuse options that are set elsewhere, that do not go together, or that mace does not know.

    Parameters
    ----------
    ours
        Options that the refitter sets itself.
    options
        Those of the user.

    Raises
    ------
    ConfigError
        Naming the option.
    DescriptorError
        If mace-torch is not installed.
    """
    from ...descriptors.mace.internals import import_mace

    own = sorted(set(FIELDS) & set(options))
    if own:
        raise ConfigError(
            f"refit.options: {', '.join(own)} has a key of its own: refit.freeze, refit.lora "
            "{rank, alpha} or refit.multihead {pt_train_file, weight_pt_head}"
        )
    taken = sorted(set(ours) & set(options))
    if taken:
        raise ConfigError(f"refit.options: {', '.join(taken)} is set by ase_bayesel itself")
    for name in ACCELERATED:
        if ours.get("lora") and options.get(name):
            raise ConfigError(
                f"refit.options: {name} and refit.lora exclude each other, since mace saves an "
                "accelerated model without its low-rank part; leave one of them out"
            )
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            import_mace().parser().parse_args(arguments({**ours, **options}))
    except SystemExit as error:
        message = complaint.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise ConfigError(f"refit.options: mace_run_train says: {message}") from error


def arguments(settings: Settings) -> list[str]:
    """``--name=value``; a mere switch of mace's is there where its value is true."""
    from ...descriptors.mace.internals import import_mace

    actions = import_mace().parser()._actions
    switches = {option.lstrip("-") for a in actions if a.nargs == 0 for option in a.option_strings}
    given = []
    for name, value in settings.items():
        if name not in switches:
            given.append(f"--{name}={value}")
        elif value:
            given.append(f"--{name}")
    return given


def in_short(told: str) -> str:
    """What mace tells of an epoch as ``E 10.1 meV/atom, F 598 meV/A``.

    As it is where these errors are not in it.
    """
    found = ERROR.findall(told)
    parts = [f"{name[0]} {rounded(float(size), 3)} {UNITS[name]}" for name, size in found]
    return ", ".join(parts) or told


def segments(directory: Path) -> list[Path]:
    """The complete segments of a training, in order."""
    return sorted(directory.glob("segment_*"))


def validation_loss(segment: Path, head: str) -> float:
    """Loss of the checkpoint that a segment's model is, on the validation structures of a head."""
    (results,) = (segment / "results").glob("*_train.txt")
    records = [json.loads(line) for line in results.read_text().splitlines()]
    return min(
        record["loss"]
        for record in records
        if record["mode"] == "eval" and record["epoch"] is not None and record["head"] == head
    )
