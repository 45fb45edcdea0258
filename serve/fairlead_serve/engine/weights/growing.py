"""Growing: one file on its way to the disk, from where an earlier try left it."""

import hashlib
import os
from pathlib import Path
from types import TracebackType

from fairlead_serve.engine.weights.listing import RemoteFile

_BUFFER_BYTES = 1 << 20


class Growing:
    """`path`, open for appending until it holds `file`.

    A context manager: what was appended is on disk, synced, when it ends. Where the listing gives a SHA-256
    it is reckoned along the way, from what is there already and from what comes.

    Raises:
        OSError: anywhere; ENOSPC may come late, from the end of the context.
    """

    def __init__(self, path: Path, file: RemoteFile) -> None:
        self.size = path.stat().st_size if path.exists() else 0
        self._path = path
        self._file = file
        self._out = path.open("ab", buffering=_BUFFER_BYTES)
        self._hashed = file.sha256 is not None
        self._digest = hashlib.sha256()
        if self._hashed:
            self._read_back()

    @property
    def intact(self) -> bool:
        """Whether this is the file that the listing names."""
        right_size = self.size == self._file.size
        return right_size and (not self._hashed or self._digest.hexdigest() == self._file.sha256)

    def restart(self) -> int:
        """Begin again from the first byte; the number of bytes thrown away."""
        thrown = self.size
        self._out.seek(0)
        self._out.truncate()
        self.size = 0
        self._digest = hashlib.sha256()
        return thrown

    def append(self, chunk: bytes) -> None:
        """The next bytes of the file."""
        self._out.write(chunk)
        self.size += len(chunk)
        if self._hashed:
            self._digest.update(chunk)

    def __enter__(self) -> "Growing":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._out:
            self._out.flush()
            if kind is None:
                os.fsync(self._out.fileno())

    def _read_back(self) -> None:
        with self._path.open("rb") as file:
            while chunk := file.read(_BUFFER_BYTES):
                self._digest.update(chunk)
