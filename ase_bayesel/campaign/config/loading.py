"""The campaign's config: frozen, validated, unknown keys refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ...errors import ConfigError
from ...io.bounded_yaml import parse_yaml
from . import (
    Section,
)
from .campaign import CampaignConfig

HAVE_KINDS = (
    *("descriptor", "potential", "refit", "labelling", "ensemble", "moves"),
    *("walkers", "features"),
)
KINDS = (
    *("ace", "mace", "import", "command", "tblite", "surrogate"),
    *("gpaw", "vasp", "castep", "orca", "aims", "lammps"),
    *("nve", "langevin", "bussi", "nose_hoover_chain", "npt"),
    *("cell", "swap"),
    *("here", "processes", "local", "dask"),
    *("slurm", "pbs", "lsf", "sge", "oar", "htcondor", "moab"),
)
TRIGGER_TAGS = ("relative_force", "force", "global", "combined", "number", "calibrated")
T = TypeVar("T", bound=Section)


def load_config(path: str | Path, schema: type[T] = CampaignConfig) -> T:  # type: ignore[assignment]
    """Read and validate a YAML config, a campaign's by default; relative paths become absolute.

    Raises
    ------
    ConfigError
        Naming the file and every wrong field.
    """
    path = Path(path)
    try:
        raw = parse_yaml(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # PyYAML raises anything on values that a tag does not fit
        raise ConfigError(f"{path}: is not valid YAML ({error})") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of sections at the top level")
    return validate_config(raw, str(path), path.resolve().parent, schema)


def validate_config(
    raw: dict[str, Any],
    where: str,
    folder: Path | None = None,
    schema: type[T] = CampaignConfig,  # type: ignore[assignment]
) -> T:
    """The config in a mapping; a `ConfigError` lists every field that is wrong.

    Relative paths are taken from ``folder``.
    """
    context = None if folder is None else {"folder": folder}
    try:
        return schema.model_validate(raw, context=context)
    except ValidationError as error:
        lines = [f"  {_field(entry)}: {entry['msg']}" for entry in error.errors()]
        raise ConfigError(f"{where}: invalid config\n" + "\n".join(lines)) from error


def _field(entry: Any) -> str:
    """Dotted name of a field, without the kind that pydantic puts after a section with kinds."""
    parts = [*map(str, entry["loc"])] or ["(top level)"]
    if "trigger" in parts:
        return ".".join(part for part in parts if part not in TRIGGER_TAGS)
    section = next((k for k, part in enumerate(parts) if part in HAVE_KINDS), None)
    if section is None:
        return ".".join(parts)
    named, rest = parts[: section + 1], parts[section + 1 :]
    kind = next((k for k, part in enumerate(rest) if part in KINDS), len(rest))
    return ".".join([*named, *rest[:kind], *rest[kind + 1 :]])


def changed_fields(
    before: dict[str, Any], after: dict[str, Any]
) -> dict[str, tuple[object, object]]:
    """Fields in which two dumped configs differ, by dotted name, sorted: (before, after)."""
    old, new = _flat(before), _flat(after)
    names = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return {name: (old.get(name), new.get(name)) for name in names}


def _flat(tree: Any, prefix: str = "") -> dict[str, object]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat.update(_flat(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat
