"""Refusals as the Kubernetes API words them: `Status` objects with code and reason.

The one place of this package that maps errors to HTTP statuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from salver.control.resources import JsonObject
from salver.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    ManifestError,
    PayloadTooLarge,
    RequestError,
    ResourceError,
    ResourceNotFound,
    SalverError,
    WatchExpired,
)
from salver.server.rest.status import HTTP_STATUS

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class Refusal(SalverError):
    """A request that the API refuses, with what its `Status` says besides the message."""

    def __init__(
        self, code: int, message: str, *, reason: str = "", details: JsonObject | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason or _REASONS.get(code, "Unknown")
        self.details = details or {}


def invalid(kind: str, group: str, name: str, problems: Sequence[tuple[str, str]]) -> Refusal:
    """422 with one cause for each problem, a field (or nothing) and a message; kubectl prints a
    line for each."""
    told = "; ".join(": ".join(filter(None, problem)) for problem in problems)
    message = f'{kind} "{name}" is invalid: {told}'
    # kubectl prints "FIELD: MESSAGE" whether there is a field or not.
    causes = [
        {"reason": "FieldValueInvalid", "field": field or kind, "message": text}
        for field, text in problems
    ]
    return Refusal(
        422, message, details={"name": name, "group": group, "kind": kind, "causes": causes}
    )


def causes_of(error: ManifestError) -> Sequence[tuple[str, str]]:
    """The field and the message of each problem; no field where it is not known."""
    return error.causes or [("", problem) for problem in error.problems]


def refusal_of(error: SalverError, *, kind: str = "", group: str = "", name: str = "") -> Refusal:
    """The error, about an object of this kind (plural where there is one), as a refusal."""
    details: JsonObject = {key: value for key, value in (("name", name), ("group", group)) if value}
    if kind:
        details["kind"] = kind
    match error:
        case Refusal():
            return error
        case ManifestError():
            return invalid(kind, group, name, causes_of(error))
        case AlreadyExists():
            return Refusal(409, str(error), reason="AlreadyExists", details=details)
        case ResourceNotFound():
            return Refusal(404, str(error), details=details)
        case Conflict():
            return Refusal(409, str(error), details=details)
        case WatchExpired():
            return Refusal(410, str(error))
        case PayloadTooLarge() | InvalidInput() | RequestError():
            return Refusal(HTTP_STATUS[error.kind], str(error))
        case ResourceError():
            return Refusal(500, str(error), details=details)
    return Refusal(500, str(error))


def status_body(refusal: Refusal) -> JsonObject:
    """The `Status` object of a failure."""
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": str(refusal),
        "reason": refusal.reason,
        "code": refusal.code,
    }
    if refusal.details:
        body["details"] = refusal.details
    return body


def success_body(*, name: str, group: str, plural: str, uid: str) -> JsonObject:
    """The `Status` of something deleted."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": name, "group": group, "kind": plural, "uid": uid},
    }
