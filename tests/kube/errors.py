"""Every answer of the API server that is a `Status` of failure (k8s.io/apimachinery/pkg/api/errors)."""

# ruff: noqa: N818 - the names are the reasons that the API gives

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class StatusError(Exception):
    """Becomes the body of the answer; `code` is its HTTP status, `reason` the word that clients compare."""

    code = 500
    reason = "InternalError"

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = dict(details or {})

    def status(self) -> dict[str, Any]:
        """The object `Status` of the answer."""
        body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message}
        if self.reason:
            body["reason"] = self.reason
        if self.details:
            body["details"] = self.details
        return {**body, "code": self.code}


class BadRequest(StatusError):
    code, reason = 400, "BadRequest"


class Unauthorized(StatusError):
    code, reason = 401, "Unauthorized"


class Forbidden(StatusError):
    code, reason = 403, "Forbidden"


class NotFound(StatusError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(StatusError):
    code, reason = 405, "MethodNotAllowed"


class AlreadyExists(StatusError):
    code, reason = 409, "AlreadyExists"


class Conflict(StatusError):
    code, reason = 409, "Conflict"


class Expired(StatusError):
    """The answer 410: the asked resourceVersion is no longer known."""

    code, reason = 410, "Expired"


class UnsupportedMediaType(StatusError):
    code, reason = 415, "UnsupportedMediaType"


class Unknown(StatusError):
    """An error that the server has no word for, such as those of server-side apply's types."""

    code, reason = 500, ""


@dataclass(frozen=True)
class Cause:
    """One thing that is wrong with an object: its place as kubectl shows it, and the sentence behind it."""

    field: str
    reason: str
    message: str

    def as_dict(self) -> dict[str, str]:
        return {"reason": self.reason, "message": self.message, "field": self.field}


class Invalid(StatusError):
    """The answer 422."""

    code, reason = 422, "Invalid"

    def __init__(self, group: str, kind: str, name: str, causes: Sequence[Cause]) -> None:
        said = [f"{cause.field}: {cause.message}" for cause in causes]
        text = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
        qualified = f"{kind}.{group}" if group else kind
        details = {"name": name, "group": group, "kind": kind, "causes": [cause.as_dict() for cause in causes]}
        super().__init__(
            f'{qualified} "{name}" is invalid: {text}', {key: value for key, value in details.items() if value}
        )
        self.causes = tuple(causes)
