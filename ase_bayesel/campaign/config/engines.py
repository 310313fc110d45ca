"""The engine that labels, and its settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, PositiveFloat, PositiveInt

from .base import FACTORY, FileName, InputPath, ModelFile, Section


class EngineSection(Section):
    """What all engines share.

    ``fallbacks`` lists changes of ``parameters``, merged into them section by section, that are
    tried one after the other where a calculation has failed.
    """

    parameters: dict[str, JsonValue] = {}
    fallbacks: list[dict[str, JsonValue]] = []


class ProgramSection(EngineSection):
    """What all engines share that are programs; see `engines.program.ProgramEngine`."""

    command: list[str] = []
    environment: dict[str, str] = {}
    time_limit_h: PositiveFloat | None = None


class TBLiteConfig(EngineSection):
    """xTB by tblite, Gamma point only."""

    kind: Literal["tblite"]
    method: str = "GFN1-xTB"


class ImportedConfig(EngineSection):
    """Any importable callable that returns an ASE calculator."""

    kind: Literal["import"]
    factory: str = Field(pattern=FACTORY)


class SurrogateConfig(EngineSection):
    """A saved surrogate as the teacher."""

    kind: Literal["surrogate"]
    model: InputPath


class DFTSection(ProgramSection):
    """What the DFT programs share; see `engines.dft.DFTEngine`.

    One of ``kpts`` and ``kspacing`` (1/A) is given.
    """

    kpts: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    kspacing: PositiveFloat | None = None
    magnetic_moments: dict[str, float] = {}


class PseudopotentialSection(DFTSection):
    """What the plane-wave programs share; see `engines.dft.PseudopotentialEngine`."""

    pseudo_dir: InputPath
    pseudopotentials: dict[str, FileName] = Field(min_length=1)


class EspressoConfig(PseudopotentialSection):
    """Quantum ESPRESSO; see `EspressoEngine`. ``parameters`` are namelists."""

    kind: Literal["espresso"]
    parameters: dict[str, dict[str, JsonValue]]  # type: ignore[assignment]
    fallbacks: list[dict[str, dict[str, JsonValue]]] = []  # type: ignore[assignment]


class AbinitConfig(PseudopotentialSection):
    """ABINIT; see `AbinitEngine`. ``parameters`` are its input variables."""

    kind: Literal["abinit"]


class CP2KConfig(DFTSection):
    """CP2K; see `CP2KEngine`. ``parameters`` are sections of its input."""

    kind: Literal["cp2k"]
    basis_set: str | dict[str, str] = "DZVP-MOLOPT-SR-GTH"
    basis_set_file: InputPath
    potential: str | dict[str, str] = "GTH-PBE"
    potential_file: InputPath
    xc: str = "PBE"
    cutoff_Ry: PositiveFloat = 400.0
    vacuum_A: PositiveFloat = 5.0


class MACETeacherConfig(Section):
    """A MACE model as the teacher, a file or a name such as ``mace_mp:medium``."""

    kind: Literal["mace"]
    model: ModelFile
    head: str | None = None
    dtype: Literal["float32", "float64"] = "float64"
    device: str = "cpu"
    trust: bool = False


class GPAWConfig(EngineSection):
    """GPAW in this process; see `engines.gpaw.GPAWEngine`."""

    kind: Literal["gpaw"]
    setup_path: InputPath | None = None
    magnetic_moments: dict[str, float] = {}


class VaspConfig(ProgramSection):
    """VASP; see `engines.vasp.VaspEngine`."""

    kind: Literal["vasp"]
    pp_path: InputPath
    potentials: dict[str, FileName] = Field(min_length=1)
    magnetic_moments: dict[str, float] = {}


class CastepConfig(ProgramSection):
    """CASTEP; see `engines.castep.CastepEngine`."""

    kind: Literal["castep"]
    pseudopotentials: dict[str, InputPath] = {}
    magnetic_moments: dict[str, float] = {}


class OrcaConfig(ProgramSection):
    """ORCA, for molecules; see `engines.orca.OrcaEngine`."""

    kind: Literal["orca"]
    processes: PositiveInt = 1


class AimsConfig(ProgramSection):
    """FHI-aims; see `engines.aims.AimsEngine`."""

    kind: Literal["aims"]
    species_dir: InputPath
    magnetic_moments: dict[str, float] = {}


class LammpsConfig(ProgramSection):
    """A potential of LAMMPS; see `engines.lammps.LammpsEngine`."""

    kind: Literal["lammps"]
    species: tuple[str, ...] = Field(min_length=1)
    files: tuple[InputPath, ...] = ()


EngineConfig = Annotated[
    TBLiteConfig
    | ImportedConfig
    | SurrogateConfig
    | MACETeacherConfig
    | GPAWConfig
    | EspressoConfig
    | AbinitConfig
    | CP2KConfig
    | VaspConfig
    | CastepConfig
    | OrcaConfig
    | AimsConfig
    | LammpsConfig,
    Field(discriminator="kind"),
]
