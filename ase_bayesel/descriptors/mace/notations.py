"""What earlier releases of mace-torch wrote in another way: the same models.

Known are the differences in files of releases 0.3.4 to 0.3.9; tests/data/old_mace has some.
"""

from __future__ import annotations

from typing import Any

import torch

LINEAR_PATH = "e3nn.o3._linear.Linear"
"""e3nn's linear map, as a pickle names it."""
NO_LONGER_KEPT = {"mace.modules.radial.ZBLBasis": ("r_max", "cutoff")}
"""What classes kept in older files and never used: the repulsion ends at the covalent radii."""


def as_written_now(tensor: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """A tensor of whole numbers in the type of ``new``, where that is an integer's.

    The power in the cutoff function and the repulsion was a float until 0.3.9.
    """
    whole = tensor.is_floating_point() and bool((tensor == tensor.round()).all())
    return tensor.to(new.dtype) if whole and not new.is_floating_point() else tensor


def plain_number(value: Any) -> Any:
    """A tensor that is one number as that number; any other value as it is."""
    single = isinstance(value, torch.Tensor) and value.dim() == 0
    return value.item() if single else value


def weight_layout(linear: Any) -> dict[str, Any]:
    """What the weights of e3nn's linear map depend on, by attribute.

    Before 0.3.9 neighbouring representations of one kind in the input of ``linear`` were written
    as one. Weights lie in the order of the inputs where each kind of output is there once: then
    merging neighbours changes neither them nor the factors of the outputs.
    """
    kinds = [entry.ir for entry in linear.irreps_out]
    once = len(kinds) == len(set(kinds))
    instructions = [getattr(entry, "args", entry) for entry in linear.instructions]
    return {
        "irreps_in": linear.irreps_in.simplify() if once else linear.irreps_in,
        "instructions": sorted({(i_out, factor) for _, i_out, _, factor in instructions}),
    }
