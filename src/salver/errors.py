"""Every error that Salver raises on purpose: one tree, no wire format.

    SalverError
    |-- RequestError                 the answer to one request
    |   |-- InvalidInput             the caller's fault: shape, datatype, name, syntax
    |   |-- PayloadTooLarge          the body is over the size limit
    |   |-- ModelNotFound            no such model, or no such version of it
    |   |-- ModelNotReady            known, but loading, failed or unloaded
    |   |-- Unsupported              the model or the server has no such operation
    |   |-- QueueFull                the model's queue is at its bound; try again later
    |   |-- Unavailable              the server is draining or has no replica left
    |   |   `-- WorkerUnfit          so says a worker that is to be replaced
    |   |-- DeadlineExceeded         the time limit of the request has passed
    |   `-- ModelFailed              the model raised, exited or answered nonsense
    |-- ArtifactError                the path given cannot become a model
    |   |-- UnrecognisedArtifact     no known format
    |   |-- MissingFramework         the format is known, its library is not installed
    |   |-- LoadFailed               the framework could not load it
    |   |-- GraphError               a graph written in Python that cannot be traced, or run
    |   |-- StorageError             a URI that cannot be fetched, or not as it should be
    |   `-- EnvironmentFailed        the Python packages a model needs cannot be installed
    |-- ResourceError                a declared resource cannot be read or changed as asked
    |   |-- ManifestError            manifests that are wrong, all their problems at once
    |   |-- ResourceNotFound         no such resource
    |   |-- AlreadyExists            it is to be created, and is there
    |   |-- Conflict                 it has changed since the caller read it
    |   `-- WatchExpired             a watch from a version that is no longer kept
    |-- CommandFailed                a command of the command line that could not do it
    `-- StartupError                 a port is taken, a file is unreadable
        `-- SettingsError            settings that are wrong, all of them at once

A module raises the kind; `server/` maps kinds to HTTP statuses and gRPC codes. Messages
name the object, the fact and the next step, on one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class ErrorKind(IntEnum):
    """The kinds of `RequestError`, numbered for the frames between gateway and worker."""

    OK = 0
    INVALID_INPUT = 1
    PAYLOAD_TOO_LARGE = 2
    MODEL_NOT_FOUND = 3
    MODEL_NOT_READY = 4
    UNSUPPORTED = 5
    QUEUE_FULL = 6
    UNAVAILABLE = 7
    DEADLINE_EXCEEDED = 8
    MODEL_FAILED = 9

    @property
    def reason(self) -> str:
        """The kind as a metric label, e.g. `invalid_input`."""
        return self.name.lower()


class SalverError(Exception):
    """The root: catching it catches all that Salver raises on purpose."""


class RequestError(SalverError):
    """A request that gets no result; `kind` decides the code on each protocol."""

    kind: ErrorKind = ErrorKind.MODEL_FAILED


class InvalidInput(RequestError):
    """The request itself is wrong. Model code may raise it too, to refuse an input."""

    kind = ErrorKind.INVALID_INPUT


class PayloadTooLarge(RequestError):
    """The body is larger than the server's limit."""

    kind = ErrorKind.PAYLOAD_TOO_LARGE


class ModelNotFound(RequestError):
    """No model, or no version of it, goes by the name asked for."""

    kind = ErrorKind.MODEL_NOT_FOUND


class ModelNotReady(RequestError):
    """The model is known but cannot answer now; the message says why."""

    kind = ErrorKind.MODEL_NOT_READY


class Unsupported(RequestError):
    """The model, or this server, does not offer the operation."""

    kind = ErrorKind.UNSUPPORTED


class QueueFull(RequestError):
    """The model's queue is at its bound; the caller should retry later."""

    kind = ErrorKind.QUEUE_FULL


class Unavailable(RequestError):
    """The server is draining, or no replica is left to answer."""

    kind = ErrorKind.UNAVAILABLE


class WorkerUnfit(Unavailable):
    """What the worker's model depends on is gone: another worker is to load the model anew."""


class DeadlineExceeded(RequestError):
    """The request's time limit passed before its answer came."""

    kind = ErrorKind.DEADLINE_EXCEEDED


class ModelFailed(RequestError):
    """The model raised, exited, or answered something that is no answer."""

    kind = ErrorKind.MODEL_FAILED


class ArtifactError(SalverError):
    """A path that cannot be served as a model."""


class UnrecognisedArtifact(ArtifactError):
    """No runtime knows the format of the file or folder."""


class MissingFramework(ArtifactError):
    """The format is known, but the library that reads it is not installed."""


class LoadFailed(ArtifactError):
    """The framework found the artifact unreadable, or the model's own `load` raised."""


class GraphError(ArtifactError):
    """A graph written in Python that cannot be traced, or not be run as it is asked to."""


class StorageError(ArtifactError):
    """A model's URI that cannot be fetched: absent, refused, damaged, too large."""


class EnvironmentFailed(ArtifactError):
    """The Python environment of a model cannot be made; the message has the solver's reason."""


class ResourceError(SalverError):
    """A declared resource that cannot be read or changed as asked."""


class ManifestError(ResourceError):
    """Manifests that cannot be accepted; `problems` has one line for each fault in them.

    `causes` has the field and the message of each, where that is known.
    """

    def __init__(self, problems: Sequence[str], causes: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)
        self.causes = tuple(causes)


class ResourceNotFound(ResourceError):
    """No resource of that type and name."""


class AlreadyExists(ResourceError):
    """A resource of that type and name is there already."""


class Conflict(ResourceError):
    """The resource has changed since the caller read it, or another manager owns the field."""


class WatchExpired(ResourceError):
    """A watch or list from a resourceVersion whose history is no longer kept."""


class CommandFailed(SalverError):
    """A command of the command line that could not do what it was asked to."""


class StartupError(SalverError):
    """The server cannot start as asked: a taken port, an unreadable file."""


class SettingsError(StartupError):
    """Settings that cannot be used; `problems` has one line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)
