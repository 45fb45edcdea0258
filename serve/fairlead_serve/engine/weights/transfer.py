"""Transfer: brings the files of a listing into a directory, several at once, and continues what broke off.

A file grows as `.incomplete/<path>` and moves to `<path>` when its size and, where the source gives one, its
SHA-256 are right and it is synced; so what lies under its own name is done, also after a kill or a crash.
Where a source gives no SHA-256 (S3, small files of the hub) the size is what is checked.
Names beginning with a dot are never fetched (`selection`), so `.incomplete` is free.
"""

import shutil
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from fairlead_serve.engine.weights.growing import Growing
from fairlead_serve.engine.weights.listing import Listing, RemoteFile, Source
from fairlead_serve.engine.weights.patience import Interrupted, Patience
from fairlead_serve.engine.weights.progress import Meter, Report

INCOMPLETE = ".incomplete"
# An attempt that brought this much did not fail in vain: the count of failures starts again. Less would let a
# source that gives a few bytes at a time keep an engine starting for ever.
WORTHWHILE_BYTES = 1 << 20


class _Stopped(Exception):  # noqa: N818 - never leaves this module
    """Another file failed for good."""


class Transfer:
    """One listing on its way into the directory `target`; progress counts from what is there already."""

    def __init__(
        self,
        source: Source,
        listing: Listing,
        target: Path,
        *,
        patience: Patience,
        parallel: int,
        report: Report,
    ) -> None:
        self._source = source
        self._files = listing.files
        self._target = target
        self._patience = patience
        self._parallel = parallel
        self._stop = threading.Event()
        self._total = listing.total
        self._meter = Meter(report, done=self._total - self.missing(), total=self._total)

    def missing(self) -> int:
        """Bytes that are not in `target` yet. Not while it runs: it deletes what cannot be continued."""
        return self._total - sum(map(self._held, self._files))

    def run(self) -> None:
        """Fetch what is missing.

        Raises:
            WeightsError: the first failure, of the classes that the source and `patience` raise.
            OSError: writing failed, for one with ENOSPC.
        """
        with ThreadPoolExecutor(self._parallel, thread_name_prefix="weights") as pool:
            jobs = [pool.submit(self._fetch, file) for file in self._files]
            try:
                for job in as_completed(jobs):
                    job.result()
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        shutil.rmtree(self._target / INCOMPLETE, ignore_errors=True)
        self._meter.finish()

    def _held(self, file: RemoteFile) -> int:
        """Bytes of `file` that need not be fetched; what cannot be continued is deleted."""
        final, growing = self._target / file.path, self._growing(file)
        if final.is_file() and final.stat().st_size == file.size:
            return file.size
        final.unlink(missing_ok=True)
        if growing.is_file() and growing.stat().st_size <= file.size:
            return growing.stat().st_size
        growing.unlink(missing_ok=True)
        return 0

    def _growing(self, file: RemoteFile) -> Path:
        return self._target / INCOMPLETE / file.path

    def _fetch(self, file: RemoteFile) -> None:
        if not (self._target / file.path).is_file():
            self._patience.call(lambda: self._attempt(file))

    def _attempt(self, file: RemoteFile) -> None:
        self._go_on()
        growing, final = self._growing(file), self._target / file.path
        growing.parent.mkdir(parents=True, exist_ok=True)
        with Growing(growing, file) as grown:
            if grown.size < file.size:
                self._receive(file, grown)
            if not grown.intact:
                self._meter.add(-grown.restart())
                raise Interrupted(f"{file.path} arrived damaged")
        final.parent.mkdir(parents=True, exist_ok=True)
        growing.replace(final)

    def _receive(self, file: RemoteFile, grown: Growing) -> None:
        offset, received = grown.size, 0
        try:
            with self._source.read(file, offset) as body:
                if body.start != offset:
                    self._meter.add(-grown.restart())
                for chunk in self._while_wanted(body.chunks):
                    grown.append(chunk)
                    self._meter.add(len(chunk))
                    received += len(chunk)
                    if grown.size > file.size:
                        break
        except Interrupted as error:
            error.got_further = received >= WORTHWHILE_BYTES
            raise
        if grown.size < file.size:
            raise Interrupted(f"{file.path} broke off after {grown.size} of {file.size} bytes")

    def _while_wanted(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        for chunk in chunks:
            self._go_on()
            yield chunk

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise _Stopped
