"""Which properties of a crystal a campaign follows with their error bars, and the crystal."""

from __future__ import annotations

from ase import Atoms
from ase.build import bulk
from pydantic import Field, model_validator

from ...errors import ConfigError
from ...io.fields import InputPath
from ...io.magnitudes import Length, Members, Positive, Reciprocal, Repeats
from ...structures.frames import read_frames
from .base import Section

Supercell = tuple[Repeats, Repeats, Repeats]


class CrystalConfig(Section):
    """The material: arguments of `ase.build.bulk`, or a ``file`` whose first frame it is.

    The axes of a cubic crystal lie along x, y, z. Phonons and slabs are those of the cell
    as it is given, so let it be primitive.
    """

    name: str | None = None
    crystalstructure: str | None = None
    a: Length | None = None
    c: Length | None = None
    file: InputPath | None = None

    @model_validator(mode="after")
    def _one_source(self) -> CrystalConfig:
        if (self.name is None) == (self.file is None):
            raise ValueError("give exactly one of name and file")
        if self.file is not None and self.model_fields_set != {"file"}:
            raise ValueError("file: nothing else is used beside it")
        return self

    def build(self) -> Atoms:
        """The crystal, as it is given.

        Raises
        ------
        ConfigError
            If ASE cannot build it, or it is not periodic in three directions.
        StructureError
            If the file cannot be read.
        """
        if self.file is not None:
            return periodic(read_frames(self.file)[0], str(self.file))
        try:
            return bulk(**self.model_dump(exclude={"file"}, exclude_none=True))
        except (ValueError, KeyError, RuntimeError) as error:
            raise ConfigError(f"crystal: ASE cannot build it ({error})") from error


def periodic(crystal: Atoms, where: str) -> Atoms:
    """The crystal; a `ConfigError` names where it is from if it is not periodic."""
    if not crystal.pbc.all():
        raise ConfigError(f"{where}: a crystal is periodic in three directions")
    return crystal


class FrequenciesConfig(Section):
    """Phonon frequencies at q-points, by their names and in units of the reciprocal cell.

    The lowest and the highest of each are followed; at the zone's centre the highest alone.
    """

    supercell: Supercell
    qpoints: dict[str, tuple[Reciprocal, Reciprocal, Reciprocal]] = Field(min_length=1)


class PropertiesConfig(Section):
    """Properties that are computed after each fit; see docs/stopping.md.

    They are those of the surrogate, also beside another potential. Lattice constants are always
    among them. ``vacancy`` is the supercell from which an atom is taken, for crystals of one
    element. ``members`` are drawn from the posterior. ``wanted`` are error bars that suffice, by
    the names of the properties: ``a``, ``C11``, ``vacancy``, ``phonon X highest``.
    """

    crystal: CrystalConfig
    elastic: bool = True
    vacancy: Supercell | None = None
    phonons: FrequenciesConfig | None = None
    members: Members = 16
    wanted: dict[str, Positive] = {}
