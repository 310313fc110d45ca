"""Reference engines: what computes a label, in which settings, and how it fails."""

from ..result import ReferenceResult
from .abinit import AbinitEngine
from .aims import AimsEngine
from .base import Engine, merged, settings_hash
from .calculators import CalculatorEngine, ImportedEngine, SurrogateEngine, TBLiteEngine
from .castep import CastepEngine
from .cp2k import CP2KEngine
from .espresso import EspressoEngine
from .gpaw import GPAWEngine
from .lammps import LammpsEngine
from .mace import MACEEngine
from .orca import OrcaEngine
from .program import ProgramEngine
from .vasp import VaspEngine

ENGINES: tuple[type[Engine], ...] = (
    *(TBLiteEngine, ImportedEngine, SurrogateEngine, MACEEngine, GPAWEngine),
    *(EspressoEngine, AbinitEngine, CP2KEngine),
    *(VaspEngine, CastepEngine, OrcaEngine, AimsEngine, LammpsEngine),
)
"""What a config can name by its kind; docs/how-to/new-engine.md says how to add one."""

__all__ = [
    "ENGINES",
    "AbinitEngine",
    "AimsEngine",
    "CP2KEngine",
    "CalculatorEngine",
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
