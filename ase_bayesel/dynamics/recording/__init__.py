"""What walkers did: trajectories with uncertainties, and a compact log of every step.

A trajectory is extended XYZ, or ASE's own format where its name ends in ``.traj``. The log is
a folder of npz files, each with some rows of `LOG_DTYPE` and each written in one step.
Nothing is evaluated for either: they hold what the MD has at hand.
"""

from .log import StepLog, read_log
from .recorder import Recorder, Recording, RoundRecorder, StepBuffer, StepRecord, recorded
from .steps import LOG_DTYPE, log_row, recorded_frame
from .trajectory import TrajectoryFile

__all__ = [
    "LOG_DTYPE",
    "Recorder",
    "Recording",
    "RoundRecorder",
    "StepBuffer",
    "StepLog",
    "StepRecord",
    "TrajectoryFile",
    "log_row",
    "read_log",
    "recorded",
    "recorded_frame",
]
