"""Disk: the room in the cache directory, and the one place where errors of writing to it become sentences."""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fairlead_serve.errors import DiskFull, WeightsError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


def free_bytes(directory: Path) -> int:
    """Bytes that this user may still write below `directory`, which need not be there yet."""
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free


def amount(count: int) -> str:
    """A number of bytes for people: "1.5 GiB (1610612736 bytes)"."""
    value, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} bytes" if unit == "bytes" else f"{value:.1f} {unit} ({count} bytes)"


class Disk:
    """The file system that the cache directory is on."""

    def __init__(self, root: Path, free: Callable[[Path], int]) -> None:
        self._root = root
        self._free = free

    def require(self, needed: int) -> None:
        """Refuse before the first byte what cannot fit.

        Raises:
            DiskFull: fewer than `needed` bytes are free.
        """
        free = self._free(self._root)
        if needed > free:
            raise DiskFull(self._sentence(needed, free))

    @contextmanager
    def translated(self, missing: Callable[[], int | None]) -> Iterator[None]:
        """Errors of writing below the cache directory, as errors of weights.

        `missing` is asked, when the disk is full, how many bytes are still to be written.

        Raises:
            DiskFull: the disk or the quota is full. What is there stays, and a later fetch continues it.
            WeightsError: the directory cannot be written for another reason.
        """
        try:
            yield
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise DiskFull(self._sentence(missing(), self._free(self._root))) from error
            where = error.filename or self._root
            raise WeightsError(
                f"The cache directory {self._root} cannot be used ({where}: {error.strerror or error}); "
                f"make it a directory that this user may write."
            ) from error

    def _sentence(self, needed: int | None, free: int) -> str:
        wanted = "more room" if needed is None else f"{amount(needed)} more"
        return (
            f"The weights need {wanted} in the cache directory {self._root}, where {amount(free)} are free; "
            f"delete what is not used there, or make it larger (spec.cache.size)."
        )
