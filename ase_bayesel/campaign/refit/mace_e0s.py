"""Reference energies of a MACE model: those that it holds, and others in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Module


def e0s_of(module: Module, head: str | None) -> dict[int, float]:
    """Reference energies (eV) that a model holds for a head, by atomic number."""
    from ...descriptors.mace.internals import atomic_energies_of, known_numbers

    energies = atomic_energies_of(module)[_row(module, head)]
    return dict(zip(known_numbers(module), energies.tolist(), strict=True))


def take_e0s(module: Module, head: str | None, e0s: Mapping[int, float]) -> None:
    """Give a model reference energies, since mace goes on with those of the model it starts from.

    Parameters
    ----------
    module
        The model, which is changed.
    head
        Whose they are; None for the only one.
    e0s
        By atomic number, eV.
    """
    from ...descriptors.mace.internals import atomic_energies_of, known_numbers, model_parts

    values = model_parts(module).atomic_energies_fn.atomic_energies
    energies = atomic_energies_of(module).clone()
    energies[_row(module, head)] = energies.new_tensor([e0s[z] for z in known_numbers(module)])
    values.copy_(energies.reshape(values.shape))


def _row(module: Module, head: str | None) -> int:
    from ...descriptors.mace.internals import heads_of
    from ...descriptors.mace.loading import chosen_head

    return heads_of(module).index(chosen_head(module, head))
