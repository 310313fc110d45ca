"""What models of other packages are made in: without their warnings, in torch's default dtype."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator

import torch

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
    """Torch's default dtype, in which mace and e3nn make tensors, is ``dtype`` within.

    All threads of a process share that default, so they come here one at a time.
    """
    with _DEFAULT_DTYPE:
        before = torch.get_default_dtype()
        torch.set_default_dtype(DTYPES[dtype] if isinstance(dtype, str) else dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def dtype_name(module: torch.nn.Module) -> str:
    """``"float32"`` or ``"float64"``."""
    return str(next(module.parameters()).dtype).removeprefix("torch.")
