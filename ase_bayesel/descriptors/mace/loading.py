"""Finding, loading and cutting down MACE models."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers, chemical_symbols

from ...errors import DescriptorError
from ..torch import weights
from ..torch.runtime import default_dtype, dtype_name, quiet
from .internals import (
    MODEL_CLASSES,
    atomic_energies_of,
    heads_of,
    import_mace,
    interaction_parts,
    known_numbers,
    model_parts,
    product_parts,
)

FAMILIES = ("mace_mp", "mace_off")
COMPILED = "_compiled"


def locate(model: str | PathLike, download: bool = True) -> Path:
    """The file of a model given by path, or by name such as ``"mace_mp:medium"``.

    A name is looked up in mace's own cache and downloaded where it is not there, unless
    ``download`` is false; ``mace_off`` models have a licence that excludes commercial use.

    Raises
    ------
    DescriptorError
        If there is no such file, or a named model is neither cached nor reachable.
    """
    family, _, name = str(model).partition(":")
    if family in FAMILIES and not Path(model).exists():
        return _named(family, name, download)
    return file_at(model)


def file_at(model: str | PathLike) -> Path:
    """The file of a model given by path; nothing is looked up by name.

    Raises
    ------
    DescriptorError
        If there is no such file.
    """
    path = Path(model)
    if not path.is_file():
        raise DescriptorError(
            f"{path}: no such MACE model file; give a path, or a name such as 'mace_mp:medium'"
        )
    return path.resolve()


def _named(family: str, name: str, download: bool) -> Path:
    mace = import_mace()
    known = getattr(mace.foundations, f"{family}_urls")
    if name not in known:
        raise DescriptorError(f"{family}:{name}: no such model; known: {', '.join(known)}")
    base = known[name].rpartition("/")[2]
    plain = "".join(c for c in base if c.isalnum() or c == "_")  # so mace_mp names its copies
    cached = Path(mace.foundations.get_cache_dir()) / (base if family == "mace_off" else plain)
    if cached.is_file() and (family == "mace_off" or not download):
        return cached
    if not download:
        raise DescriptorError(
            f"{family}:{name}: not in {mace.foundations.get_cache_dir()}, and nothing is "
            "downloaded here; fetch it first, or give the path of its file"
        )
    wanted = name if family == "mace_mp" else known[name]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return Path(mace.foundations.download_mace_mp_checkpoint(wanted))
    except Exception as error:
        raise DescriptorError(
            f"{family}:{name}: not in {mace.foundations.get_cache_dir()} and the download failed "
            f"({error}); fetch {known[name]} on a machine with network access, copy it here and "
            "give the path of that file instead of the name"
        ) from error


def load_module(path: Path, trust: bool = False) -> torch.nn.Module:
    """The model of a file, on the CPU and in the dtype in which it was saved.

    The file is a pickle, and unpickling it runs whatever code it holds. That is done only
    with ``trust``; otherwise the model is made anew from what the file says, see `rebuilding`.

    Raises
    ------
    DescriptorError
        If the file cannot be read, or holds something else than a MACE model.
    """
    import_mace()
    _refuse_torchscript(path)
    try:
        with quiet():
            if trust:
                module = torch.load(path, map_location="cpu", weights_only=False)
            else:
                module = rebuilt(path)
    except DescriptorError:
        raise
    except Exception as error:
        raise DescriptorError(f"{path}: cannot be read as a MACE model ({error})") from error
    check_module(module, str(path))
    return module


def known_elements(path: Path, trust: bool = False) -> list[str] | None:
    """The elements that the model of a file knows; None where it cannot be read to tell.

    Parameters
    ----------
    path, trust
        As of `load_module`.

    Raises
    ------
    DescriptorError
        If the file is TorchScript.
    """
    _refuse_torchscript(path)
    try:
        return [chemical_symbols[z] for z in known_numbers(load_module(path, trust))]
    except DescriptorError:
        return None


def _refuse_torchscript(path: Path) -> None:
    """Refuse the compiled model that mace's training writes beside the one that can be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = {name.partition("/")[2].partition("/")[0] for name in archive.namelist()}
    except zipfile.BadZipFile:  # an older format, or damaged, as whoever reads it finds
        return
    if "code" in parts:
        plain = path.with_name(path.name.replace(COMPILED, ""))
        other = f", {plain}" if plain != path and plain.is_file() else ""
        raise DescriptorError(
            f"{path}: is a TorchScript model, which cannot be trained or looked into; take the "
            f"file that mace_run_train writes beside it, without {COMPILED} in its name{other}"
        )


def rebuilt(path: Path) -> torch.nn.Module:
    """A new model with the tensors of a file, without running code of the file.

    Raises
    ------
    DescriptorError
        If the file refers to anything but parts of MACE models, or mace cannot make the model.
    """
    from .rebuilding import RefusedError, rebuild

    try:
        return rebuild(path.read_bytes())
    except RefusedError as error:
        raise DescriptorError(
            f"{path}: cannot be read as a MACE model without running code of the file ({error}); "
            "if you trust who made it, set trust: true beside the model in the config, or give "
            "--trust or MACEDescriptor(..., trust=True)"
        ) from error


def module_bytes(module: torch.nn.Module) -> bytes:
    """A model as mace reads it from a file."""
    buffer = io.BytesIO()
    with quiet():
        torch.save(module, buffer)
    return buffer.getvalue()


def mace_calculator(
    path: Path, head: str | None, dtype: str, device: str, trust: bool = False
) -> Calculator:
    """mace's own ASE calculator of a model file.

    Parameters
    ----------
    path
        The model file.
    head
        Which head's energies it gives; None where the model has one only.
    dtype
        ``"float32"`` or ``"float64"``.
    device
        A PyTorch device such as ``"cuda"``.
    trust
        That of `load_module`.

    Raises
    ------
    DescriptorError
        As `load_module`.
    """
    return module_calculator(load_module(path, trust), head, dtype, device)


def module_calculator(
    module: torch.nn.Module, head: str | None, dtype: str, device: str
) -> Calculator:
    """mace's own ASE calculator of a loaded model.

    Parameters
    ----------
    module
        The model, which is itself brought to the dtype and the device.
    head, dtype, device
        As in `mace_calculator`.

    Raises
    ------
    DescriptorError
        If there is no such head; mace would take the last one instead.
    """
    mace = import_mace()
    options = {} if head is None else {"head": chosen_head(module, head)}
    with quiet(), contextlib.redirect_stdout(io.StringIO()):
        return mace.calculator(models=module, device=device, default_dtype=dtype, **options)


def chosen_head(module: torch.nn.Module, head: str | None) -> str:
    """``head``, or the only one, or the one called default.

    Raises
    ------
    DescriptorError
        If there is no such head, or several and none is called default.
    """
    heads = heads_of(module)
    if head is not None:
        if head not in heads:
            raise DescriptorError(f"head: no head {head!r} in this model, it has {heads}")
        return head
    default = [name for name in heads if len(heads) == 1 or name.lower() == "default"]
    if not default:
        raise DescriptorError(f"head: choose one of this model's heads {heads}")
    return default[0]


def check_module(module: object, where: str) -> None:
    """Refuse everything but an energy model of the MACE architecture."""
    name = type(module).__name__
    if name == "OptimizedModule":
        raise DescriptorError(f"{where}: the model is compiled; give one without compile_mode")
    if name not in MODEL_CLASSES:
        raise DescriptorError(f"{where}: expected one of {MODEL_CLASSES}, found {name}")


def shift_energies(
    module: torch.nn.Module, head: str | None, energies: Mapping[str, float]
) -> None:
    """Add to a model's own reference energies, so that its file needs nothing beside it.

    Parameters
    ----------
    module
        The model, which is changed.
    head
        Of which head; see `chosen_head`.
    energies
        By element, eV per atom; elements that the model does not know are left out.
    """
    row, known = heads_of(module).index(chosen_head(module, head)), known_numbers(module)
    values = atomic_energies_of(module).clone()
    for symbol, energy in energies.items():
        if atomic_numbers[symbol] in known:
            values[row, known.index(atomic_numbers[symbol])] += energy
    held = model_parts(module).atomic_energies_fn.atomic_energies
    held.copy_(values.reshape(held.shape))


def weights_sha256(module: torch.nn.Module) -> str:
    """Hexadecimal SHA-256 of a model's structure, parameters and buffers."""
    blocks = map(interaction_parts, model_parts(module).interactions)
    neighbours = [float(block.avg_num_neighbors) for block in blocks]
    return weights.weights_sha256(module, f"{module} {neighbours}")


def cut_to_elements(module: torch.nn.Module, numbers: Sequence[int]) -> torch.nn.Module:
    """A smaller model that knows only the elements ``numbers``; not verified here.

    Raises
    ------
    DescriptorError
        If the model lacks an element, or its architecture cannot be rebuilt.
    """
    mace = import_mace()
    known = known_numbers(module)
    kept = sorted(numbers)
    if not kept or not set(kept) <= set(known):
        raise DescriptorError(f"elements: the model knows the atomic numbers {known}, not {kept}")
    try:
        with quiet(), default_dtype(dtype_name(module)):
            config = mace.extract_config(module)
            if "error" in config:
                raise ValueError(config["error"])
            energies = np.atleast_2d(config["atomic_energies"])
            config["atomic_energies"] = energies[:, [known.index(z) for z in kept]]
            config["atomic_numbers"] = kept
            config["num_elements"] = len(kept)
            smaller = type(module)(**config)
            mace.load_elements(
                smaller,
                module,
                mace.ElementTable(kept),
                load_readout=True,
                max_L=product_parts(model_parts(module).products[0]).linear.irreps_out.lmax,
            )
    except Exception as error:
        raise DescriptorError(
            f"elements: this model cannot be cut to {kept} ({error}); leave elements out"
        ) from error
    return smaller
