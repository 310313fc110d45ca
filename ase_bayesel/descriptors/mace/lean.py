"""A MACE model whose costly blocks are replaced by cheaper ones that give the same numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from .contraction import SymmetricPolynomial
from .convolution import Convolution, RadialLayers
from .internals import (
    EDGES_TO_CONVOLUTION,
    LEAN_INTERACTIONS,
    interaction_parts,
    model_parts,
    product_parts,
)


def lean_copy(
    module: torch.nn.Module, wigner_3j: Callable[..., torch.Tensor]
) -> torch.nn.Module | None:
    """The same model with a `Convolution` and a `SymmetricPolynomial` wherever one fits.

    The model is left alone; everything else is shared with it, and the copy keeps
    its weights as they are now. None where no block is of a supported kind.
    """
    model = model_parts(module)
    interactions = [_lean_interaction(block, wigner_3j) for block in model.interactions]
    products = [_lean_product(block) for block in model.products]
    before = [*model.interactions, *model.products]
    if all(new is old for new, old in zip([*interactions, *products], before, strict=True)):
        return None
    twin = _shallow_copy(module)
    twin.interactions = torch.nn.ModuleList(interactions)
    twin.products = torch.nn.ModuleList(products)
    return twin


def _lean_interaction(
    block: torch.nn.Module, wigner_3j: Callable[..., torch.Tensor]
) -> torch.nn.Module:
    parts = interaction_parts(block)
    supported = (
        type(block).__name__ in LEAN_INTERACTIONS
        and not hasattr(block, EDGES_TO_CONVOLUTION)
        and Convolution.supported(parts.conv_tp)
        and RadialLayers.supported(parts.conv_tp_weights)
    )
    if not supported:
        return block
    twin = _shallow_copy(block)
    radial = RadialLayers(parts.conv_tp_weights)
    twin.conv_tp_weights = radial
    twin.conv_tp = Convolution(parts.conv_tp, radial.mixing, wigner_3j)
    setattr(twin, EDGES_TO_CONVOLUTION, True)
    return twin


def _lean_product(block: torch.nn.Module) -> torch.nn.Module:
    contraction = product_parts(block).symmetric_contractions
    if not SymmetricPolynomial.supported(contraction):
        return block
    twin = _shallow_copy(block)
    twin.symmetric_contractions = SymmetricPolynomial(contraction)
    return twin


def _shallow_copy(module: torch.nn.Module) -> torch.nn.Module:
    """A copy that shares parameters and submodules, and whose submodules can be replaced."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin
