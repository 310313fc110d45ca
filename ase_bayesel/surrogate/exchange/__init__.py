"""Linear ACE potentials as files of other packages, and in another basis of the same functions."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from ...errors import DescriptorError
from ..surrogate import Surrogate
from .ace_jax import read_ace_jax, write_ace_jax
from .functions import in_functions_of, same_functions
from .llpr import surrogate_of_llpr
from .yace import R_MIN_A, write_yace
from .yace_reading import read_yace

__all__ = [
    "in_functions_of",
    "read_ace_model",
    "same_functions",
    "surrogate_of_llpr",
    "write_ace_model",
]


def write_ace_model(surrogate: Surrogate, path: str | PathLike, r_min: float = R_MIN_A) -> None:
    """Write the mean of a surrogate on an `ACEDescriptor` as a potential of another package.

    Parameters
    ----------
    surrogate
        Its mean and reference energies are written; its covariance is not.
    path
        What it ends in says what is written. ``.npz``: a model of ace-jax, whose basis is exactly
        ours, so that ace-jax can fit it again (`read_ace_model` reads the outcome). ``.yace``: a
        potential of ML-PACE, which LAMMPS runs by ``pair_style pace``.
    r_min
        For ``.yace``: down to this distance (A) the pair functions, which have a pole at 0, are as
        they are here; nearer they are finite and mean nothing.

    Raises
    ------
    DescriptorError
        For another descriptor or ending.
    """
    suffix = Path(path).suffix
    if suffix == ".npz":
        write_ace_jax(surrogate, Path(path))
    elif suffix == ".yace":
        write_yace(surrogate, Path(path), r_min)
    else:
        raise DescriptorError(f"{path}: the name must end in .npz (ace-jax) or .yace (ML-PACE)")


def read_ace_model(path: str | PathLike) -> Surrogate:
    """The surrogate of a model that `write_ace_model` wrote, ``.npz`` or ``.yace``.

    The coefficients may be others since: those of a fit by another package on the functions of the
    file. Of a ``.yace`` the basis is found by its functions, so that whoever wrote it does not
    matter; the mean then differs from the written one in the last digits of the expansions. A file
    holds no covariance, so that of the surrogate is the prior's alone; `Surrogate.condition`
    on the training set makes it up.

    Raises
    ------
    StoreError
        If the file is damaged.
    DescriptorError
        If it is no such model, or its radial functions or couplings are not ours: a ``.yace`` with
        a nonlinear embedding, other radial functions, or functions of rank 4, say.
    """
    if Path(path).suffix == ".yace":
        return read_yace(Path(path))
    return read_ace_jax(Path(path))
