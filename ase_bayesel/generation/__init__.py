"""Pools of candidate structures from recipes, written as they are made."""

from .bootstrap import Bootstrap
from .builders import SLAB_BUILDERS, Bulk, Slab, StandardSlab
from .distortions import Rattle, Strain, Swaps, Vacancies, VolumeScan
from .dynamics import Dynamics
from .generate import PoolProgress, PoolSummary, RecipeCount, generate_pool
from .molecules import MoveMolecules
from .recipe import Chain, Context, Recipe, Rejected, derived
from .screening import NearCopies, Screen

RECIPES: tuple[type[Recipe], ...] = (
    *(Rattle, MoveMolecules, Strain, VolumeScan, Vacancies, Swaps, Bulk, Slab, StandardSlab),
    *(Dynamics, Chain),
)
"""What a config can name by its kind."""

__all__ = [
    "RECIPES",
    "SLAB_BUILDERS",
    "Bootstrap",
    "Bulk",
    "Chain",
    "Context",
    "Dynamics",
    "MoveMolecules",
    "NearCopies",
    "PoolProgress",
    "PoolSummary",
    "Rattle",
    "Recipe",
    "RecipeCount",
    "Rejected",
    "Screen",
    "Slab",
    "StandardSlab",
    "Strain",
    "Swaps",
    "Vacancies",
    "VolumeScan",
    "derived",
    "generate_pool",
]
