"""Every error that Fairlead raises on purpose, and the one JSON form in which clients see them.

    FairleadError                    a sentence for a person; the command line prints it and exits non-zero
    ├── ConfigurationError           a file or a setting is wrong; says where and what to change
    │   └── ModelFileError           a Model file is wrong; carries every problem found in it
    ├── WeightsError                 weights cannot be had
    │   ├── WeightsNotFound          the repository, revision, bucket or path does not exist
    │   ├── WeightsForbidden         the source wants a token, or refuses the one it got
    │   ├── WeightsUnavailable       the source does not answer, or broke off more often than it was retried
    │   └── DiskFull                 the cache directory has no room; says how much is missing
    ├── EngineStartError             an engine did not start; carries the engine's own last words
    ├── PortInUse                    an address to listen on is taken
    ├── ChatError                    the server that is chatted with does not answer, or refuses
    ├── StoreError                   the store of conversations
    │   ├── NotStored                there is no such thing, or it is another owner's
    │   └── StoreUnavailable         the database does not answer
    └── ApiError                     answers one request; knows its HTTP status and its OpenAI type and code

No I/O here, and nothing imported from the rest of the package.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class FairleadError(Exception):
    """Base of all. `str(error)` is a sentence that says what is wrong and what to change."""

    exit_code = 1


class ConfigurationError(FairleadError):
    """A file or a setting is wrong."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file.

    `path` is the place in the file in the form `spec.engine.args.max_model_len` (empty: the whole file);
    `message` says what is wrong there and, where one can be guessed, the nearest right name.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ModelFileError(ConfigurationError):
    """A Model file cannot be used; `problems` lists everything that is wrong with it, not just the first."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{source}: {problem}" for problem in self.problems))


class WeightsError(FairleadError):
    """Weights cannot be had."""


class WeightsNotFound(WeightsError):  # noqa: N818 - named for what happened, as the tree above
    """The repository, revision, bucket or path does not exist."""


class WeightsForbidden(WeightsError):  # noqa: N818
    """The source wants a token, or refuses the one it got."""


class WeightsUnavailable(WeightsError):  # noqa: N818
    """The source does not answer, or broke off more often than the fetch was retried."""


class DiskFull(WeightsError):  # noqa: N818
    """The cache directory has no room for the weights."""


class EngineStartError(FairleadError):
    """An engine did not start."""


class PortInUse(FairleadError):  # noqa: N818
    """An address to listen on is taken."""


class ChatError(FairleadError):
    """The server that is chatted with does not answer, or refuses; in its own words where it has some."""


class StoreError(FairleadError):
    """The store of conversations cannot do what it was asked."""


class NotStored(StoreError):  # noqa: N818
    """There is no such thing, or it is another owner's: the two cannot be told apart.

    `kind` is what was asked for: `conversation`, `response` or `item`; `id` is what it was asked by.
    """

    def __init__(self, kind: str, id: str) -> None:  # noqa: A002 - OpenAI's name for it
        self.kind = kind
        self.id = id
        super().__init__(f"there is no {kind} {id!r}")


class StoreUnavailable(StoreError):  # noqa: N818
    """The database does not answer. Nothing was written; the same call may succeed later."""


class ApiError(FairleadError):
    """Answers one request with an HTTP status and OpenAI's error object.

    `type` is one of OpenAI's (`invalid_request_error`, `authentication_error`, `permission_error`,
    `rate_limit_exceeded`, `server_error`); `code` is a constant that programs may compare, or None;
    `param` names the field of the request at fault; `headers` are added to the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        type: str | None = None,  # noqa: A002 - OpenAI's name for it
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type or openai_type(status)
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    def envelope(self) -> dict[str, Any]:
        """OpenAI's error object, as every error answer of the gateway carries it."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def openai_type(status: int) -> str:
    """OpenAI's error type for an HTTP status (the table in the official client's documentation)."""
    by_status = {
        401: "authentication_error",
        403: "permission_error",
        429: "rate_limit_exceeded",
    }
    return by_status.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
