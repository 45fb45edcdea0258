"""What an engine process dies of, as the one line that the kubelet puts into the pod's status.

`<Reason>: <sentence>`, where the reason is a constant that the operator compares.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from fairlead_serve.errors import (
    DiskFull,
    FairleadError,
    ModelFileError,
    WeightsError,
    WeightsForbidden,
    WeightsNotFound,
)

_log = logging.getLogger(__name__)

MAX_BYTES = 4096
"""The longest termination message that the kubelet keeps."""

# First match wins, so the base class comes last.
_REASONS: tuple[tuple[type[FairleadError], str], ...] = (
    (WeightsForbidden, "AuthFailed"),
    (WeightsNotFound, "NotFound"),
    (DiskFull, "DiskFull"),
    (WeightsError, "DownloadFailed"),
)
_ARGUMENTS = "spec.engine.args"
# What is shorter is no secret, and stands in many a word.
_SHORTEST_SECRET = 8


def verdict(error: FairleadError, *, secrets: Sequence[str] = ()) -> str:
    """`error` as one line of at most `MAX_BYTES`.

    An error quotes servers and libraries, which may repeat what they were given: none of `secrets` is in the line.
    """
    line = f"{_reason(error)}: {'; '.join(without(str(error), secrets).splitlines())}"
    return line.encode()[:MAX_BYTES].decode(errors="ignore")


def without(words: str, secrets: Sequence[str]) -> str:
    """`words` with stars in place of each of `secrets`."""
    # The longest first: one may be a part of another.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            words = words.replace(secret, "***")
    return words


def secrets_of(*settings: BaseSettings) -> list[str]:
    """The secrets among some settings."""
    return [value.get_secret_value() for one in settings for _, value in one if isinstance(value, SecretStr)]


def _reason(error: FairleadError) -> str:
    if isinstance(error, ModelFileError) and any(_ARGUMENTS in problem.path for problem in error.problems):
        return "UnknownArgument"
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "EngineStartFailed")


@contextlib.contextmanager
def recorded(file: Path | None, *, secrets: Sequence[str] = ()) -> Iterator[None]:
    """Write the verdict on an error that leaves the block to `file` (None: nowhere), and let it go on."""
    try:
        yield
    except FairleadError as error:
        if file is not None:
            _write(file, verdict(error, secrets=secrets))
        raise


def _write(file: Path, line: str) -> None:
    try:
        file.write_text(line + "\n", encoding="utf-8")
    except OSError as error:
        # The line stands on standard error as well; the exit code must stay that of its own error.
        _log.warning("the termination message cannot be written to %s: %s", file, error.strerror or error)
