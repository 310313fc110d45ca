"""Reference engines: what computes a label, in which settings, and how it fails."""

from .abinit import AbinitEngine
from .aims import AimsEngine
from .base import Engine, ReferenceResult, merged, settings_hash
from .calculators import ImportedEngine, SurrogateEngine, TBLiteEngine
from .castep import CastepEngine
from .cp2k import CP2KEngine
from .espresso import EspressoEngine
from .gpaw import GPAWEngine
from .lammps import LammpsEngine
from .mace import MACEEngine
from .orca import OrcaEngine
from .program import ProgramEngine
from .vasp import VaspEngine

__all__ = [
    "AbinitEngine",
    "AimsEngine",
    "CP2KEngine",
    "CastepEngine",
    "Engine",
    "EspressoEngine",
    "GPAWEngine",
    "ImportedEngine",
    "LammpsEngine",
    "MACEEngine",
    "OrcaEngine",
    "ProgramEngine",
    "ReferenceResult",
    "SurrogateEngine",
    "TBLiteEngine",
    "VaspEngine",
    "merged",
    "settings_hash",
]
