"""The campaign's config: frozen, validated, unknown keys refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ...errors import ConfigError
from ...io.bounded_yaml import parse_yaml
from ...io.kinds import UNKNOWN_KEY
from .base import Section
from .campaign import CampaignConfig

RENAMED = {
    "labelling.ladder": "fallbacks",
    "bias.heat_max": "max_excess_temperature",
}
"""Keys that have had another name, by section and old name, and their new names."""
SUFFIXES = (".yaml", ".yml")
MOST_NAMED = 3
SECTION_OF = {
    "recipes": "bayesel pool",
    "explore": "a campaign (bayesel run)",
    "crystal": "bayesel check",
}
"""What a config is for, by a section that it must have and others have not."""
T = TypeVar("T", bound=Section)


def load_config(
    path: str | Path,
    schema: type[T] = CampaignConfig,  # type: ignore[assignment]
    run_code: bool = True,
) -> T:
    """Read and validate a YAML config, a campaign's by default; relative paths become absolute.

    Without ``run_code`` a kind that would have to be imported is refused.

    Raises
    ------
    ConfigError
        Naming the file and every wrong field.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"{path}: is a directory; name a config, a YAML file{_instead_of(path)}")
    try:
        raw = parse_yaml(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # PyYAML raises anything on values that a tag does not fit
        raise ConfigError(f"{path}: is not valid YAML ({error})") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of sections at the top level")
    _check_purpose(raw, path, schema)
    return validate_config(raw, str(path), path.resolve().parent, schema, run_code)


def _check_purpose(raw: dict[str, Any], path: Path, schema: type[Section]) -> None:
    """Refuse a config of another command."""
    wanted = [key for key in SECTION_OF if key in schema.model_fields]
    others = [key for key in SECTION_OF if key in raw and key not in wanted]
    if wanted and others and not any(key in raw for key in wanted):
        raise ConfigError(
            f"{path}: this is a config for {SECTION_OF[others[0]]}; here one for "
            f"{SECTION_OF[wanted[0]]} is needed"
        )


def validate_config(
    raw: dict[str, Any],
    where: str,
    folder: Path | None = None,
    schema: type[T] = CampaignConfig,  # type: ignore[assignment]
    run_code: bool = True,
) -> T:
    """The config in a mapping.

    Parameters
    ----------
    raw
        The sections, as YAML gives them.
    where
        What the error calls the config, such as its file.
    folder
        Where relative paths start; None to leave them as they are.
    schema
        Which config it is; a campaign's by default.
    run_code
        As of `load_config`.

    Raises
    ------
    ConfigError
        Naming every field that is wrong.
    """
    context = {"run_code": run_code} | ({} if folder is None else {"folder": folder})
    try:
        return schema.model_validate(raw, context=context)
    except ValidationError as error:
        lines = [f"  {_told(entry)}" for entry in error.errors()]
        raise ConfigError(f"{where}: invalid config\n" + "\n".join(lines)) from error


def _instead_of(directory: Path) -> str:
    """Which config may be meant by a directory, where there is one: its campaign's, or those in it.

    The config within the directory of a campaign is a copy that nothing is started with.
    """
    if (directory / "format").is_file():
        stem = directory.resolve().name.removesuffix("_campaign")
        found = [directory.resolve().with_name(f"{stem}{end}") for end in SUFFIXES]
    else:
        found = sorted(path for end in SUFFIXES for path in directory.glob(f"*{end}"))
    there = [str(path) for path in found if path.is_file()]
    return f": {' or '.join(there[:MOST_NAMED])}" if there else ""


def _told(entry: Any) -> str:
    """What is wrong with a field, after its dotted name."""
    parts = [*map(str, entry["loc"])] or ["(top level)"]
    named = ".".join([part for part in parts if not part.isdecimal()][-2:])
    if entry["type"] == UNKNOWN_KEY and named in RENAMED:
        return f"{'.'.join(parts)}: is called {RENAMED[named]} now"
    return f"{'.'.join(parts)}: {entry['msg']}"


def changed_fields(
    before: dict[str, Any], after: dict[str, Any]
) -> dict[str, tuple[object, object]]:
    """Fields in which two dumped configs differ, by dotted name, sorted: (before, after)."""
    old, new = flat_fields(before), flat_fields(after)
    names = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return {name: (old.get(name), new.get(name)) for name in names}


def flat_fields(tree: Any, prefix: str = "") -> dict[str, object]:
    """Values of a dumped config by dotted name."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat.update(flat_fields(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat
