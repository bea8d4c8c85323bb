"""Errors of the pipelines.

MaskloopError
  x SettingsError      an environment variable is missing or holds no usable value
  x InterfaceError     a labelling configuration that cannot ask for masks
  x LabelStudioError   Label Studio refuses, does not answer or answers something else
  x SnapshotError      a snapshot, shard or stored image is missing or damaged
  x CommandError       git, dvc or a stage ended with an error
  x SpaceError         the disk has no room for a retrain
  x RegistryError      the model registry refuses a step
  x PromotionError     the champion changed while a challenger was compared with it
"""

from maskloop.errors import MaskloopError


class SettingsError(MaskloopError):
    """An environment variable is missing or unusable."""


class InterfaceError(MaskloopError):
    """A labelling configuration cannot be used, or not be brought up to date."""


class LabelStudioError(MaskloopError):
    """Label Studio cannot be read."""


class SnapshotError(MaskloopError):
    """Collected data is missing or damaged."""


class CommandError(MaskloopError):
    """A command ended with an error."""


class SpaceError(MaskloopError):
    """The disk has no room for a retrain."""


class RegistryError(MaskloopError):
    """The model registry cannot do what was asked."""


class PromotionError(MaskloopError):
    """A promotion was refused because the champion changed meanwhile."""
