"""Arrays in npz files, looked over before any of them is read; numpy only."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from tokenize import TokenError
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy


def checked_npz(handle: BinaryIO) -> BinaryIO:
    """The same file at its start, once it is known what reading it takes.

    As `numpy.savez` writes them, arrays are not compressed, so that together they are no larger
    than the file; each is as large as its header says; none needs pickle.

    Raises
    ------
    ValueError
        If that is not so.
    Exception
        Whatever `zipfile` and numpy raise where this is no npz file.
    """
    size = handle.seek(0, 2)
    with zipfile.ZipFile(handle) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > size:
            raise ValueError("its arrays are compressed, or larger than the file")
        for member in members:
            with archive.open(member) as content:
                _check_array(content, member)  # type: ignore[arg-type]
    handle.seek(0)
    return handle


def _check_array(content: BinaryIO, member: zipfile.ZipInfo) -> None:
    version = npy.read_magic(content)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
    try:
        shape, _, dtype = read_header(content)
    except TokenError as error:
        raise ValueError(f"{member.filename} has a damaged header ({error})") from error
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds Python objects")
    if math.prod(shape) * dtype.itemsize != member.file_size - content.tell():
        raise ValueError(f"{member.filename} is not as large as its header says")


def real(array: np.ndarray, shape: Sequence[int | None], finite: bool = True) -> np.ndarray:
    """The array itself, if it holds real numbers in this shape; None stands for any length.

    Raises
    ------
    ValueError
        If it does not, or some are not finite where they should be.
    """
    fits = len(array.shape) == len(shape) and all(
        wanted in (None, length) for length, wanted in zip(array.shape, shape, strict=True)
    )
    if array.dtype.kind not in "iufb" or not fits:
        raise ValueError(f"{array.dtype} of shape {array.shape} instead of numbers {tuple(shape)}")
    if finite and not np.isfinite(array).all():
        raise ValueError("holds numbers that are not finite")
    return array
