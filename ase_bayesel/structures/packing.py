"""What extended XYZ cannot hold as it is, packed into one key of its comment line.

A value is written plainly if ASE's own reader gives it back; else it goes into `PACKED_KEY`. So
empty texts, line breaks, quotes, nested or complex values, odd arrays, and keys that would be
taken for results of a calculator survive a file, and all others stay as other programs read them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import (
    key_val_dict_to_str,
    key_val_str_to_dict,
    per_atom_properties,
    per_config_properties,
)
from ase.spacegroup import Spacegroup
from ase.stress import voigt_6_to_full_3x3_stress

from ..errors import StructureError
from .labels import shape_of

PACKED_KEY = "bayesel_packed"
RESERVED = ("Lattice", "Properties", "pbc", "comment")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
COLUMN_NAMES = ("species", "symbols", "numbers", "Z", "pos", "positions", "charge", "move_mask")
"""Of columns that ASE makes or renames itself."""
DTYPES = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c(8|16)|U\d{1,6}|O)")
LARGEST_INTEGER = 2**31 - 1
UNREADABLE = (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError)
Packed = dict[str, list[list[Any]]]


def packed(atoms: Atoms, where: str) -> Atoms:
    """A copy without a calculator that extended XYZ holds in full; see `unpack`.

    Raises
    ------
    StructureError
        Which begins with ``where`` and names the key of what cannot be written.
    """
    out = Atoms(
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell,
        pbc=atoms.pbc,
        constraint=atoms.constraints,
    )
    hidden: Packed = {}

    def hide(kind: str, key: Any, value: Any) -> None:
        hidden.setdefault(kind, []).append(_pair(kind, key, value, where))

    results = {} if atoms.calc is None else dict(atoms.calc.results)
    for key, value in results.items():
        if value is None or key not in (*per_config_properties, *per_atom_properties):
            continue
        per_atom = key in per_atom_properties
        plain = _result(key, value)
        if per_atom and _is_column(key, plain, len(atoms)):
            out.arrays[key] = np.array(plain)
        elif not per_atom and _is_plain(key, plain):
            out.info[key] = plain
        else:
            hide("results", key, value)
    for key, value in atoms.info.items():
        value = value.symbol if isinstance(value, Spacegroup) else value
        if key in out.info and same_value(out.info[key], _result(key, value)):
            continue
        if key not in out.info and _is_plain(key, value):
            out.info[key] = value
        else:
            hide("info", key, value)
    for key, value in atoms.arrays.items():
        if key in ("numbers", "positions"):
            continue
        if key in out.arrays and same_value(out.arrays[key], value):
            continue
        if key not in out.arrays and _is_column(key, value, len(atoms)):
            out.arrays[key] = value
        else:
            hide("arrays", key, value)
    for key in [name for name in out.arrays if _runs_into_columns(name, out.arrays)]:
        hide("arrays", key, out.arrays.pop(key))
    if hidden:
        out.info[PACKED_KEY] = quote(json.dumps(hidden), safe=" !#$&()*+,/:;<=>?@[]^`{|}~")
    return out


def check_writable(atoms: Atoms, where: str) -> None:
    """Refuse a structure with something beside its atoms that `packed` would refuse.

    Raises
    ------
    StructureError
        As `packed`.
    """
    for key, value in atoms.info.items():
        if not isinstance(value, str | int | float | Spacegroup):
            _pair("info", key, value, where)
    for key, array in atoms.arrays.items():
        if array.dtype.kind not in "bifU":
            _pair("arrays", key, array, where)


def _pair(kind: str, key: Any, value: Any, where: str) -> list[Any]:
    """A key and its value as JSON holds them."""
    try:
        content = _encoded(value)
        if not same_value(_decoded(content), value):
            raise TypeError("it would come back as another value")
        return [_encoded(key), content]
    except UNREADABLE as error:
        raise StructureError(
            f"{where}: {kind}[{key!r}] of type {type(value).__name__} cannot be written to a "
            f"file ({error}); remove it, or make it numbers or text"
        ) from None


def unpack(atoms: Atoms, where: str) -> None:
    """Put back what `packed` has packed.

    Raises
    ------
    StructureError
        Which begins with ``where``, if it is damaged.
    """
    text = atoms.info.pop(PACKED_KEY, None)
    if text is None:
        return
    try:
        content = json.loads(unquote(text))
        unknown = set(content) - {"info", "arrays", "results"}
        if unknown:
            raise ValueError(f"unknown part {sorted(unknown)[0]!r}")
        parts = {
            kind: [(_decoded(key), _decoded(value)) for key, value in pairs]
            for kind, pairs in content.items()
        }
        atoms.info.update(parts.get("info", ()))
        for name, array in parts.get("arrays", ()):
            atoms.set_array(name, array)
        if "results" in parts:
            known = {} if atoms.calc is None else atoms.calc.results
            atoms.calc = SinglePointCalculator(atoms, **known, **dict(parts["results"]))
    except (*UNREADABLE, AssertionError) as error:
        raise StructureError(f"{where}: {PACKED_KEY} cannot be read ({error})") from error


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are the same to a file: lists are tuples, but ones are not true."""
    if isinstance(one, np.ndarray) != isinstance(other, np.ndarray):
        return False
    if isinstance(one, np.ndarray):
        text = one.dtype.kind in "OU" and other.dtype.kind in "OU"
        if one.shape != other.shape or not (text or one.dtype.kind == other.dtype.kind):
            return False
        return bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_value, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_value(one[k], other[k]) for k in one)
    if _scalar_kind(one) != _scalar_kind(other):
        return False
    return bool(one == other or (one != one and other != other))


def _scalar_kind(value: Any) -> Any:
    for kinds in ((bool, np.bool_), (int, np.integer), (float, np.floating)):
        if isinstance(value, kinds):
            return kinds
    for kind in (str, complex):
        if isinstance(value, kind):
            return kind
    return type(value)


def _result(key: str, value: Any) -> Any:
    """A result of a calculator as ASE writes it: stresses as tensors."""
    if key == "stress" and shape_of(value) == (6,):
        return voigt_6_to_full_3x3_stress(value)
    return value


def _is_result(key: str, value: Any) -> bool:
    """Whether a value comes back the same as a result of a calculator."""
    if key in ("energy", "free_energy", "magmom"):
        return isinstance(value, float)
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _is_plain(key: Any, value: Any) -> bool:
    """Whether ASE's reader gives a value of ``atoms.info`` back as it is."""
    if not isinstance(key, str) or not NAME.fullmatch(key) or key in (*RESERVED, PACKED_KEY):
        return False
    if key in per_config_properties and not _is_result(key, value):
        return False
    if isinstance(value, str):
        if not value.isprintable():
            return False
    elif isinstance(value, np.ndarray):
        if value.dtype.kind not in "bif" or value.size == 0:
            return False
    elif not isinstance(value, bool | int | float | np.bool_ | np.integer | np.floating):
        return False
    try:
        line = key_val_dict_to_str({key: value, "pbc": np.array([True, True, True])})
        again = key_val_str_to_dict(line)
    except Exception:  # the reader raises anything on what it does not expect
        return False
    return again.keys() == {key, "pbc"} and same_value(again[key], value)


def _is_column(name: Any, array: Any, n_atoms: int) -> bool:
    """Whether an array comes back as a column of the file, to 1e-8 where it holds floats."""
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in COLUMN_NAMES:
        return False
    if not isinstance(array, np.ndarray) or array.shape[:1] != (n_atoms,):
        return False
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] > 1)):
        return False
    kind = array.dtype.kind
    if name in per_config_properties or (name in per_atom_properties and kind != "f"):
        return False
    if kind == "i":
        return bool((np.abs(array.astype(float)) <= LARGEST_INTEGER).all())
    if kind in "OU":
        return all(isinstance(t, str) and t.isprintable() and t.split() == [t] for t in array.flat)
    return kind in "bf"


def _runs_into_columns(name: str, arrays: Mapping[str, Any]) -> bool:
    """Whether a name is that which the reader gives one of another array's columns."""
    stem = name.rstrip("0123456789")
    return stem != name and (stem in arrays or stem in COLUMN_NAMES)


def _encoded(value: Any) -> Any:
    """A value as JSON holds it; arrays, complex numbers and mappings in one-key mappings."""
    if isinstance(value, np.ndarray):
        if not DTYPES.fullmatch(value.dtype.str.replace("|O", "O")):
            raise TypeError(f"an array of {value.dtype}")
        flat = [_encoded(item) for item in value.ravel().tolist()]
        return {"array": [value.dtype.str.lstrip("|"), list(value.shape), flat]}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, list | tuple):
        return [_encoded(item) for item in value]
    if isinstance(value, Mapping):
        return {"mapping": [[_encoded(k), _encoded(v)] for k, v in value.items()]}
    raise TypeError("neither numbers nor text")


def _decoded(content: Any) -> Any:
    if isinstance(content, list):
        return [_decoded(item) for item in content]
    if not isinstance(content, dict):
        return content
    ((kind, inner),) = content.items()
    if kind == "complex":
        return complex(*inner)
    if kind == "mapping":
        return {_decoded(key): _decoded(value) for key, value in inner}
    if kind != "array" or not DTYPES.fullmatch(inner[0]):
        raise ValueError(f"unknown kind {kind!r}")
    dtype, shape, flat = inner
    array = np.empty(len(flat), dtype=np.dtype(dtype))
    array[:] = [_decoded(item) for item in flat]
    return array.reshape([int(length) for length in shape])
