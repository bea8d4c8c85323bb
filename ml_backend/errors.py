"""Errors of the service. Each class carries the HTTP status that `/predict` answers it with.

ServiceError
  x SettingsError               an environment variable that cannot be used; the service does not start
  x MalformedError         400  a body that is no JSON
  x RequestError           422  JSON that is not Label Studio's protocol, or a prompt that cannot be used
  x UnavailableImageError  424  an image that Label Studio does not hand out, or that is too large
  x UnreachableError       502  Label Studio down, or failing
  x BusyError              503  more clicks than can be answered
  x RegistryError               a registry that does not answer as one; the model served stays
"""

from maskloop.errors import MaskloopError


class ServiceError(MaskloopError):
    """Base of the service's own errors."""

    status = 500


class SettingsError(ServiceError):
    """An environment variable cannot be used."""


class MalformedError(ServiceError):
    """A body is no JSON."""

    status = 400


class RequestError(ServiceError):
    """A request does not follow the protocol, or asks for what the service does not do."""

    status = 422


class UnavailableImageError(ServiceError):
    """Label Studio answers, but not with an image."""

    status = 424


class UnreachableError(ServiceError):
    """Label Studio does not answer."""

    status = 502


class BusyError(ServiceError):
    """More clicks wait than can be answered soon."""

    status = 503


class RegistryError(ServiceError):
    """The model registry does not answer as a registry."""
