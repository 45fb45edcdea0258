"""API keys: the file that has their hashes, names and limits, and who may change it.

    keys:
    - id: key_5d1f0c7a9be24c3f8a6b7d20
      name: laptop
      prefix: flk-Q0dT
      hash: sha256:...
      created: '2025-11-21T10:00:00Z'
      models: ['qwen-*']
      requestsPerMinute: 60

A key is `flk-` and 256 random bits. Nobody can try them all, so one SHA-256 without salt or stretching hides a key
as well as it can be hidden, and costs a request next to nothing; passwords, which people choose, would need more.
No message here quotes a value from the file, in case somebody wrote a key into it.
"""

import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from fairlead_serve.errors import ConfigurationError

_MARK = "flk-"
_SECRET_BYTES = 32
_PREFIX_LENGTH = 8
_ID_BYTES = 12
# How long another `fairlead key` may take to write the file.
_LOCK_SECONDS = 10.0
_HEADER = "# Written by `fairlead key`. The keys themselves are not in here, only their hashes.\n"


class _Part(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )


class Key(_Part):
    """One API key, without the secret that it was given out as."""

    id: str = Field(
        pattern=r"^key_[0-9a-f]{24}$",
        description="Owns conversations. Made anew with every key, so a name that is used again is another tenant.",
    )
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$", max_length=63, description="What people call it; unique in the file."
    )
    prefix: str = Field(max_length=16, description="How the secret begins, for people to tell keys apart.")
    hash: str = Field(pattern=r"^sha256:[0-9a-f]{64}$", description="SHA-256 of the whole secret.")
    created: AwareDatetime
    models: tuple[str, ...] = Field(
        default=("*",), min_length=1, description="Globs of the model names that it may use; upper case matters."
    )
    requests_per_minute: int | None = Field(default=None, gt=0, description="None: unlimited, as with the others.")
    tokens_per_minute: int | None = Field(default=None, gt=0, description="Of prompts and answers together.")
    concurrent_requests: int | None = Field(default=None, gt=0, description="Requests that may go on at once.")

    @property
    def digest(self) -> bytes:
        return bytes.fromhex(self.hash.removeprefix("sha256:"))


class _Document(_Part):
    keys: tuple[Key, ...] = ()


def digest_of(secret: bytes) -> bytes:
    """What `Key.digest` is for the key that was given out as `secret`."""
    return hashlib.sha256(secret).digest()


class KeyFile:
    """The file of keys. It is replaced as a whole, so that who reads it at any time reads all of it.

    Every method raises ConfigurationError, with one line for each thing that is wrong.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[Key, ...]:
        """The keys in the file, in their order."""
        try:
            values = yaml.safe_load(self._path.read_text(encoding="utf-8"))
        except OSError as error:
            message = f"{self._path} cannot be read: {error.strerror}"
            raise ConfigurationError(message) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            message = f"{self._path} is not YAML{_place(error)}; `fairlead key` writes it as it should be"
            raise ConfigurationError(message) from None
        return self._validated(values)

    def create(
        self,
        name: str,
        *,
        models: Sequence[str] = ("*",),
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        concurrent_requests: int | None = None,
    ) -> tuple[Key, str]:
        """(the new key, its secret, which is kept nowhere). The file is made where there is none."""
        secret = _MARK + secrets.token_urlsafe(_SECRET_BYTES)
        try:
            key = Key(
                id=f"key_{secrets.token_hex(_ID_BYTES)}",
                name=name,
                prefix=secret[:_PREFIX_LENGTH],
                hash=f"sha256:{digest_of(secret.encode()).hex()}",
                created=datetime.now(UTC).replace(microsecond=0),
                models=tuple(models),
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
                concurrent_requests=concurrent_requests,
            )
        except ValidationError as error:
            raise ConfigurationError(_lines("the new key", error)) from None
        with self._locked():
            keys = self.load() if self._path.exists() else ()
            if any(one.name == name for one in keys):
                message = f"{self._path} has a key named {name!r} already; revoke it first, or choose another name"
                raise ConfigurationError(message)
            self._write((*keys, key))
        return key, secret

    def revoke(self, name: str) -> Key:
        """Take the key called `name` out of the file, and give it back."""
        with self._locked():
            keys = self.load()
            for key in keys:
                if key.name == name:
                    self._write([one for one in keys if one is not key])
                    return key
        there_are = f"there are: {', '.join(one.name for one in keys)}" if keys else "there are none"
        message = f"{self._path} has no key named {name!r}; {there_are}"
        raise ConfigurationError(message)

    def _validated(self, values: Any) -> tuple[Key, ...]:
        if values is not None and not isinstance(values, dict):
            message = f"{self._path} must hold a mapping with `keys`, not a {type(values).__name__}"
            raise ConfigurationError(message)
        try:
            keys = _Document.model_validate(values or {}).keys
        except ValidationError as error:
            raise ConfigurationError(_lines(str(self._path), error)) from None
        if twice := list(_occurring_twice(keys)):
            raise ConfigurationError("\n".join(f"{self._path}: {line}" for line in twice))
        return keys

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Of the file itself where the path is a link: it is that which is written.
        target = self._path.resolve()
        lock = FileLock(target.with_name(f"{target.name}.lock"), mode=0o600)
        try:
            lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout:
            message = f"{self._path} is being written by another `fairlead key`; try again"
            raise ConfigurationError(message) from None
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            yield
        finally:
            lock.release()

    def _write(self, keys: Sequence[Key]) -> None:
        document = _Document(keys=tuple(keys)).model_dump(mode="json", by_alias=True, exclude_none=True)
        text = _HEADER + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        try:
            _replace(self._path.resolve(), text.encode())
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(f"{self._path} cannot be written: {error.strerror}")


def _replace(path: Path, content: bytes) -> None:
    """Put `content` in the place of `path`, all of it or nothing, readable by its owner alone."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _occurring_twice(keys: Sequence[Key]) -> Iterator[str]:
    """What has to be unique and is not: two keys of one id would share their conversations."""
    for field in ("id", "name", "hash"):
        first: dict[str, int] = {}
        for index, key in enumerate(keys):
            value = getattr(key, field)
            if value in first:
                yield f"keys.{index}.{field}: the same as keys.{first[value]}.{field}; remove one of the two keys"
            first.setdefault(value, index)


def _lines(source: str, error: ValidationError) -> str:
    return "\n".join(f"{source}: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())


def _place(error: Exception) -> str:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    return f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
