"""A MACE model whose costly blocks are replaced by cheaper ones that give the same numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from .contraction import SymmetricPolynomial
from .convolution import Convolution, RadialLayers

INTERACTIONS = (
    "RealAgnosticInteractionBlock",
    "RealAgnosticResidualInteractionBlock",
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
)
"""Blocks that use the radial weights for nothing but the convolution."""


def lean_copy(
    module: torch.nn.Module, wigner_3j: Callable[..., torch.Tensor]
) -> torch.nn.Module | None:
    """The same model with a `Convolution` and a `SymmetricPolynomial` wherever one fits.

    The model is left alone; everything else is shared with it, and the copy keeps
    its weights as they are now. None where no block is of a supported kind.
    """
    interactions = [_lean_interaction(block, wigner_3j) for block in module.interactions]
    products = [_lean_product(block) for block in module.products]
    kept = [*module.interactions, *module.products]
    if all(one is other for one, other in zip([*interactions, *products], kept, strict=True)):
        return None
    twin = _shallow_copy(module)
    twin.interactions = torch.nn.ModuleList(interactions)
    twin.products = torch.nn.ModuleList(products)
    return twin


def _lean_interaction(
    block: torch.nn.Module, wigner_3j: Callable[..., torch.Tensor]
) -> torch.nn.Module:
    supported = (
        type(block).__name__ in INTERACTIONS
        and not hasattr(block, "conv_fusion")
        and Convolution.supported(block.conv_tp)
        and RadialLayers.supported(block.conv_tp_weights)
    )
    if not supported:
        return block
    twin = _shallow_copy(block)
    twin.conv_tp_weights = RadialLayers(block.conv_tp_weights)
    twin.conv_tp = Convolution(block.conv_tp, twin.conv_tp_weights.mixing, wigner_3j)
    twin.conv_fusion = True  # mace-torch then hands the edges over to conv_tp
    return twin


def _lean_product(block: torch.nn.Module) -> torch.nn.Module:
    if not SymmetricPolynomial.supported(block.symmetric_contractions):
        return block
    twin = _shallow_copy(block)
    twin.symmetric_contractions = SymmetricPolynomial(block.symmetric_contractions)
    return twin


def _shallow_copy(module: torch.nn.Module) -> torch.nn.Module:
    """A copy that shares parameters and submodules, and whose submodules can be replaced."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin
