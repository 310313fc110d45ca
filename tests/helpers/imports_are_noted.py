"""A module that writes down that it was imported."""

import os
from pathlib import Path

from ase.calculators.emt import EMT

from ase_bayesel.labelling.engines import ImportedEngine

__all__ = ["EMT", "Engine"]
Path(os.environ["NOTE_OF_IMPORT"]).write_text("imported")


class Engine(ImportedEngine):
    """An engine from elsewhere."""
