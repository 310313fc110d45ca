"""mace-torch as a library: its import, its warnings, torch's default dtype."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from types import SimpleNamespace

import torch

from ...errors import DescriptorError

MODEL_CLASSES = ("MACE", "ScaleShiftMACE")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
_DEFAULT_DTYPE = threading.RLock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what TorchScript, e3nn and mace warn about on import and loading."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(torch\.jit|e3nn|mace)\.")
        warnings.filterwarnings("ignore", message="The TorchScript type system")
        yield


@contextlib.contextmanager
def default_dtype(dtype: str | torch.dtype) -> Iterator[None]:
    """Torch's default dtype, in which mace makes tensors, is ``dtype`` within.

    All threads of a process share that default, so they come here one at a time.
    """
    with _DEFAULT_DTYPE:
        before = torch.get_default_dtype()
        torch.set_default_dtype(DTYPES[dtype] if isinstance(dtype, str) else dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def import_mace() -> SimpleNamespace:
    """The parts of mace-torch that this package calls.

    Raises
    ------
    DescriptorError
        If mace-torch is not installed.
    """
    torch.serialization.add_safe_globals([slice])  # e3nn loads a file of constants on import
    try:
        with quiet():
            from e3nn.o3 import wigner_3j
            from mace import calculators, data
            from mace.calculators import foundations_models
            from mace.tools import (
                arg_parser,
                finetuning_utils,
                scripts_utils,
                torch_geometric,
                utils,
            )
    except ImportError as error:
        raise DescriptorError(
            f"MACE features need mace-torch ({error}); install it by pip install ase_bayesel[mace]"
        ) from error
    return SimpleNamespace(
        calculator=calculators.MACECalculator,
        data=data,
        foundations=foundations_models,
        finetuning=finetuning_utils,
        parser=arg_parser.build_default_arg_parser,
        scripts=scripts_utils,
        Batch=torch_geometric.Batch,
        ElementTable=utils.AtomicNumberTable,
        wigner_3j=wigner_3j,
    )


def dtype_name(module: torch.nn.Module) -> str:
    """``"float32"`` or ``"float64"``."""
    return str(next(module.parameters()).dtype).removeprefix("torch.")
