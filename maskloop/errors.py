"""Errors that maskloop raises on purpose.

MaskloopError
  x ImageError        bytes that are no readable image, or too large a one
  x ClickError        a click outside its image, or one that is no number
  x MaskError         run lengths, polygons or shapes that describe no mask
  x CheckpointError   a checkpoint that is missing, damaged or of another model
  x DatasetError      a folder or file that does not hold the dataset asked for
  x TrainingError     a training run with impossible settings, or one that diverged
  x EvaluationError   a result file that cannot be read, or results that cannot be compared
  x SelectionError    an unknown strategy, or a calibration that cannot be read or fitted
  x JournalError      a click journal that cannot be read, or a line of it that is damaged
"""


class MaskloopError(Exception):
    """Base of every error of this project. The message names the value and the remedy."""


class ImageError(MaskloopError):
    """An image cannot be read."""


class ClickError(MaskloopError):
    """A click cannot be used on its image."""


class MaskError(MaskloopError):
    """A mask cannot be encoded or decoded."""


class CheckpointError(MaskloopError):
    """A checkpoint cannot be loaded."""


class DatasetError(MaskloopError):
    """A dataset cannot be opened."""


class TrainingError(MaskloopError):
    """A network cannot be trained."""


class EvaluationError(MaskloopError):
    """Results cannot be read, compared or asked for a figure."""


class SelectionError(MaskloopError):
    """Images cannot be put into an order, or a calibration cannot be read or fitted."""


class JournalError(MaskloopError):
    """A click journal, or a line of it, cannot be read."""
