"""The named errors of the package.

Each one is raised with a message that names the file, frame, key or field at
fault and says what to do. The command line turns any of them into exit code 2.
"""


class BayeselError(Exception):
    """Base of every error that this package raises on purpose."""


class StructureError(BayeselError):
    """A structure, or a file of structures, cannot be used."""


class DescriptorError(BayeselError):
    """A descriptor cannot be built, loaded, or applied to a structure."""


class PosteriorError(BayeselError):
    """A posterior is given rows that do not fit it, or its file is damaged."""


class SingularPrecisionError(PosteriorError):
    """The precision is numerically singular: the prior is too wide for the data."""


class ConfigError(BayeselError):
    """A campaign's config cannot be read or holds a wrong value."""


class StoreError(BayeselError):
    """A campaign directory is damaged or does not fit its config."""


class LockedError(StoreError):
    """Another process works in the same place."""


class LabellingError(BayeselError):
    """Labels are missing or do not belong to the structures that were asked for."""


class ResultError(BayeselError):
    """A calculator fails, or what it gives is no energy, forces or stress."""


class EngineError(BayeselError):
    """A reference calculation of one structure has failed; the message is the reason."""


class NotConvergedError(EngineError):
    """The self-consistency cycle of a reference calculation did not converge."""


class SelectionError(BayeselError):
    """A selection from a pool is asked for what it cannot give."""


class CommandError(BayeselError):
    """An external program cannot be started or has failed."""


class MissingProgramError(CommandError):
    """An external program is not installed, or not where it is looked for."""


class TerminatedError(CommandError):
    """An external program was asked to end (SIGTERM), as a scheduler does: run it again."""


class TimeLimitError(CommandError):
    """An external program was stopped because its time was up."""


class WorkerError(BayeselError):
    """Workers cannot be had, or are lost again and again over the same task."""


class LostTaskError(WorkerError):
    """A task has cost several workers their lives, and is given up."""


class ExplorationError(BayeselError):
    """All walkers of a round have failed before anything was picked."""


class RefitError(BayeselError):
    """The potential could not be refitted; the last good model is still in place."""


class ValidationError(BayeselError):
    """A property cannot be computed: nothing came to rest, or a structure does not serve."""


class GenerationError(BayeselError):
    """A pool of candidate structures cannot be generated as it is asked for."""


class ThermostatWarning(UserWarning):
    """A thermostat does not keep its temperature: the bias, say, heats faster than it cools."""
