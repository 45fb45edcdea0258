"""Listing: the files that a source has, under names that are safe to write. No I/O here."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from fairlead_serve.errors import WeightsError


@dataclass(frozen=True)
class RemoteFile:
    """One file of a source.

    `path` is relative and has passed `check_path`; `key` is what the
    source asks for it by; `size` is in bytes;
    `sha256` (hex) and `etag` are None where the source gives none.
    """

    path: str
    key: str
    size: int
    sha256: str | None = None
    etag: str | None = None


@dataclass(frozen=True)
class Listing:
    """All files of one version. `version` never names other contents, and is safe as a directory's name."""

    version: str
    files: tuple[RemoteFile, ...]

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Body:
    """What a source sends of a file: everything from byte `start` on (not always the byte asked for)."""

    start: int
    chunks: Iterable[bytes]


class Source(Protocol):
    """Something far away that holds weights.

    Both methods raise the WeightsError family for what will not get better, and `patience.Interrupted` for
    what may; `read` does so also while the chunks are taken.
    """

    def listing(self) -> Listing:
        """What is there now."""

    def read(self, file: RemoteFile, offset: int) -> AbstractContextManager[Body]:
        """The bytes of `file` from `offset` on, or all of them if the source cannot continue."""


def check_path(name: str) -> str:
    """`name`, if writing it below a directory cannot leave that directory.

    Names come from whoever filled the repository or bucket.

    Raises:
        WeightsError: it is absolute, climbs, or holds characters that mean something else elsewhere.
    """
    parts = name.split("/")
    odd = any(ord(character) < 32 or character == "\\" for character in name)
    if odd or any(part in {"", ".", ".."} for part in parts) or PurePosixPath(name).is_absolute():
        raise WeightsError(f"The source holds a file named {name!r}, which is not a plain relative path; refused.")
    return name
