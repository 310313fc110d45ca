"""The potential of a campaign as a file of its own, for ASE, LAMMPS and other packages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import ConfigError, StoreError
from ..io.atomic import reading, refuse_existing, write_atomically
from ..io.model_files import copy_files, suffixes_of
from ..structures.energy_shift import EnergyShift
from ..surrogate.exchange import write_ace_model
from ..surrogate.surrogate import SURROGATE_SUFFIX, Surrogate
from .config.models import MACEPotentialConfig
from .events import best_round
from .loading_lines import needs_trust, potential_lines, stored_potential, surrogate_lines
from .store import Store

Form = Literal["surrogate", "model", "yace", "ace-jax"]
"""What a file is: the surrogate with its uncertainties; the model of the campaign's potential, as
MACE or another package wrote it; the surrogate's mean for ML-PACE, or for ace-jax."""
SUFFIXES = {"surrogate": SURROGATE_SUFFIX, "yace": ".yace", "ace-jax": ".npz"}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    path
        The file, or the folder of a model that is one.
    form
        What it is.
    round_number
        Of the model.
    lines
        Python or, for LAMMPS, its commands, that load it.
    notes
        What the file does not hold, or does not tell.
    """

    path: Path
    form: Form
    round_number: int
    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()


def round_named(store: Store, wanted: str) -> int:
    """The round that is meant by ``last``, ``best`` (on the test set) or a number.

    Raises
    ------
    ConfigError
        If there is no such round, or no test set.
    """
    done = store.completed_rounds()
    if not done:
        raise StoreError(f"{store.directory}: no round is done yet; bayesel run goes on")
    if wanted == "last":
        return done - 1
    if wanted == "best":
        best = best_round([store.read_report(k) for k in range(done)])
        if best is None:
            raise ConfigError("round: without a test set (data.test) no round is the best one")
        return best
    if not (wanted.isdecimal() and int(wanted) < done):
        raise ConfigError(f"round: expected last, best or 0 to {done - 1}, got {wanted!r}")
    return int(wanted)


def form_for(store: Store, number: int, path: Path, wanted: str | None) -> Form:
    """The form that is asked for, or by default that of the potential and the file's name.

    Parameters
    ----------
    store, number
        The campaign and its round.
    path
        Where it is to lie.
    wanted
        One of `Form`; None for the default.

    Raises
    ------
    ConfigError
        For an unknown form, one that the campaign does not have, or a name that does not fit.
    """
    model = store.potential_path(number)
    forms = _forms(store, model)
    if wanted is None:
        order = ["surrogate" if stored_potential(store) is None else "model", *forms]
        wanted = next((form for form in order if _fits(path, form, model)), None)
    elif wanted not in forms:
        told = ", ".join(f"{form} ({what})" for form, what in forms.items())
        raise ConfigError(f"format: this campaign can write {told}; got {wanted!r}")
    if wanted is None or not _fits(path, wanted, model):
        ends = ", ".join(
            f"{_suffix(form, model) or 'without a dot'} ({form}: {what})"
            for form, what in forms.items()
        )
        raise ConfigError(f"{path}: the name must end as its format does: {ends}")
    return wanted  # type: ignore[return-value]


def _forms(store: Store, model: Path | None) -> dict[str, str]:
    """What a campaign can write, and what that is: a model where it has one, ACE if it is one."""
    forms = {"surrogate": "with uncertainties"}
    if model is not None:
        forms["model"] = "the potential as its package wrote it"
    features = store.read_config().get("descriptor")
    if isinstance(features, dict) and features.get("kind") == "ace":
        forms |= {"yace": "linear ACE for LAMMPS", "ace-jax": "linear ACE for ace-jax"}
    return forms


def export(store: Store, number: int, path: Path, form: Form) -> Exported:
    """Write the model of a round.

    Parameters
    ----------
    store, number
        The campaign and its round.
    path
        Where; there must be nothing yet.
    form
        See `form_for`.

    Raises
    ------
    ConfigError
        If there is something already.
    StoreError
        If a file of the campaign is damaged.
    DescriptorError
        If features are no linear ACE, for ``yace`` and ``ace-jax``.
    """
    refuse_existing(path)
    path, potential = path.absolute(), stored_potential(store)
    model, shift = store.potential_path(number), store.read_report(number).energy_shift
    source = store.model_path(number)
    if form == "model":
        assert potential is not None
        assert model is not None
        if shift is not None and isinstance(potential, MACEPotentialConfig):
            write_atomically(path, _with_shift(model, potential, shift))
            shift = None
        else:
            copy_files(model, path.parent, path.name.removesuffix(suffixes_of(model)))
        lines = potential_lines(potential, path, shift)
        return Exported(path, form, number, lines, _model_notes(shift))
    if form == "surrogate":
        with reading(source) as data:
            for name in data.files:
                data[name]  # whoever finds a damaged file does so now
        write_atomically(path, source.read_bytes())
        own = () if potential is None else potential_lines(potential, model, shift)
        lines = surrogate_lines(path, own, needs_trust(store))
        notes = [] if model is None else [f"{model} stays where it is: these lines load it too"]
        return Exported(path, form, number, lines, tuple(notes))
    surrogate = Surrogate.load(source)
    write_ace_model(surrogate, path)
    mean = "it is the mean of the surrogate, not the potential on which walkers moved"
    notes = [] if potential is None else [mean]
    notes += ["it holds no uncertainties: --format surrogate does"]
    return Exported(path, form, number, _ace_lines(surrogate, path, form), tuple(notes))


def _with_shift(model: Path, potential: MACEPotentialConfig, shift: EnergyShift) -> bytes:
    """A MACE model whose own reference energies are shifted."""
    from ..descriptors.mace.loading import load_module, module_bytes, shift_energies

    module = load_module(model, potential.trust)
    shift_energies(module, potential.head, shift.energies)
    return module_bytes(module)


def _fits(path: Path, form: str, model: Path | None) -> bool:
    suffix = _suffix(form, model)
    return path.name.endswith(suffix) if suffix else not path.suffix


def _suffix(form: str, model: Path | None) -> str:
    """What the name of a form ends in."""
    return suffixes_of(model) if form == "model" and model is not None else SUFFIXES.get(form, "")


def _model_notes(shift: EnergyShift | None) -> tuple[str, ...]:
    notes = ["it holds no uncertainties: --format surrogate does"]
    if shift is not None:
        notes.append("the energy shift is in the lines: the file has no place for it")
    return tuple(notes)


def _ace_lines(surrogate: Surrogate, path: Path, form: Form) -> tuple[str, ...]:
    if form == "ace-jax":
        return (
            "from ase_bayesel.surrogate.exchange import read_ace_model",
            f"surrogate = read_ace_model({str(path)!r})",
            "calculator = surrogate.calculator()",
        )
    elements = " ".join(surrogate.descriptor.elements)
    types = {symbol: k + 1 for k, symbol in enumerate(surrogate.descriptor.elements)}
    return (
        "from ase.calculators.lammpslib import LAMMPSlib  # a LAMMPS with ML-PACE",
        f"commands = ['pair_style pace', 'pair_coeff * * {path} {elements}']",
        f"calculator = LAMMPSlib(lmpcmds=commands, atom_types={types!r})",
    )
