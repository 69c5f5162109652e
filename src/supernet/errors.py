"""All errors that users can meet, as one tree of classes.

* SupernetError
  - SpaceError           a search space or an architecture is malformed
  - NoArchitectureError  a choice ran before anyone said which architecture to run
  - CalibrationError     a network was about to be scored without batch-norm statistics of its own
  - SharingError         a network does what running many architectures at once can't allow
  - NetworkError         a network can't be found, built, or run on the data
  - DataError            data are missing, damaged, or do not fit
  - SettingsError        a setting is unknown or impossible
    - LimitError           no architecture meets the limits of a search
    - LatencyError         a latency table is of something else, or can't be had
  - RunFolderError       a run folder can't be used, written or read
  - CheckpointError      a saved state is none, or is not of what it is loaded into
  - ExportError          a network can't be written in a format, or is not the same afterwards
  - ModelFolderError     a model folder can't be used, written or read
  - DivergedError        training produced a loss that is not a number
  - WorkerError          a worker process failed for good
    - RankError            ranks of a training disagree, or one of them is gone
  - Stopped              work was asked to stop, and did

and warnings:

* SettingsWarning          a setting changes nothing
* DataWarning              a class is missing from a split; outputs are no logits
* SharingWarning           part of a network runs without shared execution: right, but slower
* CheckpointWarning        a saved state is damaged, and the one before it is used
* UntrainedWarning         a search scores with weights that know nothing yet
"""


class SupernetError(Exception):
    """Base class of every error this package raises on purpose."""


class SpaceError(SupernetError, ValueError):
    """A search space or an architecture is malformed."""


class NoArchitectureError(SupernetError, RuntimeError):
    """A choice ran before anyone said which architecture to run."""


class CalibrationError(SupernetError, RuntimeError):
    """A network was about to be scored without batch-norm statistics of its own."""


class SharingError(SupernetError, RuntimeError):
    """A network does something that running many architectures at once can't allow."""


class NetworkError(SupernetError, ValueError):
    """A network can't be found by its name, can't be built, or can't be run on the data."""


class DataError(SupernetError, ValueError):
    """Data are missing, damaged, or do not fit."""


class SettingsError(SupernetError, ValueError):
    """A setting is unknown or impossible."""


class LimitError(SettingsError):
    """No architecture meets the limits of a search; it says which comes nearest."""


class LatencyError(SettingsError):
    """A latency table is damaged, or of another space, device or runtime; or can't be had."""


class RunFolderError(SupernetError, OSError):
    """A run folder can't be used, written or read."""


class CheckpointError(SupernetError, ValueError):
    """A saved state is none, or is not of what it is loaded into."""


class ExportError(SupernetError, ValueError):
    """A network can't be written in a format, or is not the same afterwards; nothing is left."""


class ModelFolderError(SupernetError, OSError):
    """A model folder can't be used, written or read."""


class DivergedError(SupernetError, ArithmeticError):
    """Training produced a loss that is not a number."""


class WorkerError(SupernetError, RuntimeError):
    """A worker process failed for good."""


class RankError(WorkerError):
    """Ranks of one training disagree, or one of them is gone or never came."""


class Stopped(SupernetError):
    """Work was asked to stop, and did; where it saves its state, it can resume there."""


class SettingsWarning(UserWarning):
    """A setting that was asked for changes nothing."""


class DataWarning(UserWarning):
    """Data can be used, but something about them is likely a slip.

    A class is missing from a split, say, or a network puts out what its task doesn't take.
    """


class SharingWarning(UserWarning):
    """Part of a network runs without shared execution: the results are right, at a higher cost."""


class CheckpointWarning(UserWarning):
    """A saved state is damaged, and the one before it is used; or there is none."""


class UntrainedWarning(UserWarning):
    """No architecture is better than guessing: the weights that score them seem untrained."""
