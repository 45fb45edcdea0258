"""Cache: the layout of the cache directory, and what makes an entry of it whole.

    <root>/hf/<owner>--<name>/<commit>/             a whole entry, the manifest `.fairlead.json` inside
    <root>/hf/<owner>--<name>/<commit>.partial/     what there is of it while it is fetched or made
    <root>/hf/<owner>--<name>/<commit>.lock         held (flock) by the process that fetches it
    <root>/hf/<owner>--<name>/refs/<digest>.json    the commit that a revision's name last meant
    <root>/s3/<bucket>--<prefix>/<digest>/          the same; the digest is that of the listing
    <root>/tiny/<name>/<digest>/                    the same; the digest is that of the recipe

A directory without `.partial` is there only after one rename, with every file of its manifest synced before;
so a process killed or a machine switched off at any point leaves a partial entry or a whole one. An entry
somebody damaged by hand is noticed where a file is missing or its size differs; contents are not read again.
Nothing is ever deleted but the remains of the entry at hand.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fairlead_serve.errors import WeightsUnavailable

MANIFEST = ".fairlead.json"
_VERSION = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Entry:
    """One version of one model: the directory that an engine gets, and what belongs to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.partial = directory.with_name(f"{directory.name}.partial")
        self._lock = directory.with_name(f"{directory.name}.lock")

    def size(self) -> int | None:
        """Bytes of the whole entry; None where there is none, or not all of it."""
        manifest = _read_json(self.directory / MANIFEST)
        files = manifest.get("files")
        if not isinstance(files, dict) or not files:
            return None
        if not all(_has_size(self.directory / name, size) for name, size in files.items()):
            return None
        return sum(files.values())

    @contextmanager
    def locked(self, waiting: Callable[[], None], *, every_s: float = 1.0) -> Iterator[None]:
        """Hold the entry's lock; `waiting` is called at once, and every `every_s`, while another holds it.

        The kernel lets go of the lock when its holder dies, however it dies.
        """
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._lock)
        patience_s = 0.0
        while not lock.is_locked:
            try:
                lock.acquire(timeout=patience_s)
            except Timeout:
                waiting()
                patience_s = every_s
        try:
            yield
        finally:
            lock.release()

    def open_partial(self) -> Path:
        """The partial directory, with what an earlier try left; lock held.

        A damaged entry is taken as such a rest: its undamaged files are not fetched again.
        """
        if self.directory.exists():
            _remove(self.partial)
            self.directory.rename(self.partial)
            (self.partial / MANIFEST).unlink(missing_ok=True)
        self.partial.mkdir(parents=True, exist_ok=True)
        return self.partial

    def clear_partial(self) -> Path:
        """The partial directory, empty; lock held."""
        _remove(self.directory)
        _remove(self.partial)
        self.partial.mkdir(parents=True)
        return self.partial

    def publish(self, origin: str, files: Mapping[str, int] | None = None) -> None:
        """Make the partial directory the whole entry; lock held.

        `files` are the sizes in bytes by relative path, and anything else in the directory is deleted; None
        takes what is there.
        """
        present = {
            path.relative_to(self.partial).as_posix(): path for path in self.partial.rglob("*") if path.is_file()
        }
        if files is None:
            files = {name: path.stat().st_size for name, path in present.items()}
        for name in present.keys() - files.keys():
            present[name].unlink()
        _write_synced(self.partial / MANIFEST, {"origin": origin, "files": dict(sorted(files.items()))})
        for directory in {self.partial, *(present[name].parent for name in present.keys() & files.keys())}:
            _sync_directory(directory)
        self.partial.rename(self.directory)
        _sync_directory(self.directory.parent)


class Shelf:
    """All versions of one model."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def entry(self, version: str) -> Entry:
        """The entry of a version, whole or not.

        Raises:
            WeightsUnavailable: the version, which came from the source, is not a plain word.
        """
        if not _VERSION.fullmatch(version):
            raise WeightsUnavailable(f"The source calls its version {version!r}, which is not a commit; refused.")
        return Entry(self._directory / version)

    def recall(self, name: str) -> str | None:
        """The version that `name` (a branch, a tag) last meant."""
        version = _read_json(self._ref(name)).get("version")
        return version if isinstance(version, str) and _VERSION.fullmatch(version) else None

    def remember(self, name: str, version: str) -> None:
        """Note what `name` means now, for a start without the source.

        A cache directory that cannot be written is no reason to refuse an entry that is whole: the note is
        a convenience, and is left out.
        """
        if self.recall(name) == version:
            return
        ref = self._ref(name)
        with suppress(OSError):
            ref.parent.mkdir(parents=True, exist_ok=True)
            draft = ref.with_name(f"{ref.name}.{os.getpid()}")
            _write_synced(draft, {"name": name, "version": version})
            draft.replace(ref)

    def _ref(self, name: str) -> Path:
        return self._directory / "refs" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"


def _read_json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _has_size(path: Path, size: object) -> bool:
    try:
        return path.is_file() and path.stat().st_size == size
    except OSError:
        return False


def _write_synced(path: Path, content: Mapping[str, object]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    # Some network file systems refuse to sync directories; they order renames themselves.
    with suppress(OSError):
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)
