"""Errors beside uncertainties: the report's table, and the command ``bayesel calibrate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from ase.calculators.calculator import Calculator
from rich.table import Table

from ..campaign.events import RoundReport
from ..campaign.inputs import check_e0s, check_elements
from ..campaign.prequential import read_pick_errors
from ..campaign.store import Store
from ..errors import ConfigError, StructureError
from ..io.atomic import refuse_existing
from ..structures.frames import read_frames
from ..structures.labels import PropertyKeys, keys_in
from ..surrogate.held_out import held_out
from ..surrogate.scales import LEVELS, Scale, Scales
from ..surrogate.surrogate import SURROGATE_SUFFIX, Surrogate
from ..validation.reliability import Reliability, reliability

UNITS = {"energy": "eV", "forces": "eV/A", "virial": "eV"}
OF_NETWORK = "saved scales are of a network, these errors of the linear mean: see --potential"
COLUMNS = ("rows", "RMSE", "z raw", "z", *(f"in {level:.0%}" for level in LEVELS), "NLL", "CRPS")


def pick_table(store: Store, reports: Sequence[RoundReport]) -> list[tuple[str, str, list[str]]]:
    """Lines of round, property with unit, and numbers: how well picks were foretold."""
    lines = []
    for before, report in pairwise(reports):
        errors = read_pick_errors(store, report.round_number)
        scales = Scales.from_json(before.scales)
        for prop, rows in (errors.fitted if errors is not None else {}).items():
            found = reliability(rows, getattr(scales, prop))
            if found is not None:
                name = f"{prop}, {UNITS[prop]}"
                lines.append((str(report.round_number), name, numbers(found)))
    return lines


def numbers(found: Reliability) -> list[str]:
    """The cells of `COLUMNS`."""
    shares = [f"{share:.0%}" for share in found.coverage]
    return [
        str(found.n),
        f"{found.rmse:.4g}",
        f"{found.raw_z:.2f}",
        f"{found.z:.2f}",
        *shares,
        f"{found.nll:.3f}",
        f"{found.crps:.4g}",
    ]


def calibrate(
    model: Path,
    frames: Path,
    asked: PropertyKeys | None,
    output: Path | None = None,
    potential: Calculator | None = None,
    trust: bool = False,
) -> tuple[Table, Scales]:
    """Compare a saved surrogate with labelled structures that it was not fitted to.

    Parameters
    ----------
    model
        Written by `Surrogate.save`.
    frames
        The structures.
    asked
        Where their labels are; None to look for them as `keys_in` does.
    output
        Where the surrogate is saved with the scales of these structures: a new file that ends in
        `SURROGATE_SUFFIX`; None for nowhere.
    potential
        Predicts, a network say; None for the surrogate's mean.
    trust
        That of `MACEDescriptor`.

    Raises
    ------
    StructureError
        If no structure has a label under the keys, or one is not of its shape.
    ConfigError
        If the model knows nothing of an element, or for another output.
    ResultError
        If the potential fails.
    """
    if output is not None:
        refuse_existing(output)
        if output.suffix != SURROGATE_SUFFIX:
            raise ConfigError(f"{output}: end the name of a surrogate in {SURROGATE_SUFFIX}")
    surrogate, structures = Surrogate.load(model, trust=trust), read_frames(frames)
    of_network = surrogate.support is not None and surrogate.support.network
    surrogate = _predicted_by(surrogate, potential is not None)
    keys, told = keys_in(structures, asked, str(frames))
    check_elements(structures, frames, surrogate.descriptor.elements)
    check_e0s(structures, frames, surrogate.e0s, "given")
    try:
        found = held_out(surrogate, structures, keys, potential)
    except StructureError as error:
        raise StructureError(f"{frames}: {error}") from error
    if not found:
        raise StructureError(
            f"{frames}: no frame has a label under the keys {keys}; label them (bayesel label) or "
            "name their keys (options --energy-key, --forces-key, --virial-key)"
        )
    new = Scales.of(found)
    if potential is not None and "forces" in found:
        plain = held_out(surrogate.in_campaign, structures, keys)["forces"]
        plain = replace(plain, errors=found["forces"].errors)
        new = replace(new, campaign_forces=Scale.of(plain))
    if of_network and potential is None:
        told = [*told, OF_NETWORK]
    columns: dict[str, list[str]] = {}
    for label, scales in (("saved", surrogate.scales), ("new", new)):
        for prop, rows in found.items():
            scale: Scale = getattr(scales, prop)
            compared = reliability(rows, scale)
            if compared is not None:
                name = f"{prop}\n{UNITS[prop]}\n{label}"
                columns[name] = [f"{scale.value:.3g}", *numbers(compared)]
    table = Table("", title=f"{model.name} on {frames.name}: scales as saved, and of these frames")
    table.caption = "; ".join(told) or None
    for name in columns:
        table.add_column(name, justify="right")
    for name, cells in zip(("scale", *COLUMNS), zip(*columns.values(), strict=True), strict=True):
        table.add_row(name, *cells)
    if output is not None:
        replace(surrogate, scales=new).save(output)
    return table, new


def _predicted_by(surrogate: Surrogate, network: bool) -> Surrogate:
    """With what its deviations are widened by where a network predicts, or its own mean."""
    if surrogate.support is None:
        return surrogate
    support = replace(surrogate.support, network=network, widens=network)
    return replace(surrogate if network else surrogate.in_campaign, support=support)
