"""What an engine process tells its parent: JSON lines on a pipe, and what the end of that pipe means."""

import json
import select
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import IO, Any

from fairlead_serve.errors import FairleadError
from fairlead_serve.progress import Report
from fairlead_serve.stopping import Stopping


@dataclass(frozen=True)
class EngineAddress:
    """Where engines answer: `url` without a path, Ray's Prometheus exporter, and the directory of Ray's logs."""

    url: str
    metrics_url: str
    logs: str


@dataclass(frozen=True)
class Failed:
    """The process ends because of an error; `kind` is its class."""

    kind: str
    message: str
    exit_code: int


Event = Report | EngineAddress | Failed
_KINDS: Mapping[str, type[Event]] = {"progress": Report, "ready": EngineAddress, "failed": Failed}


class EventWriter:
    """The child's side."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, event: Event) -> None:
        """Tell one thing. A parent that is gone is not told."""
        kind = next(name for name, one in _KINDS.items() if isinstance(event, one))
        with self._lock:
            try:
                self._stream.write(json.dumps({"event": kind, **asdict(event)}) + "\n")
                self._stream.flush()
            except BrokenPipeError:
                return

    def fail(self, error: FairleadError) -> None:
        """Tell the error that this process ends with."""
        self.write(Failed(type(error).__name__, str(error), error.exit_code))

    def end_with_reader(self, stopping: Stopping) -> None:
        """Leave at once when the parent is gone (nobody reads the pipe any more): its requests are, too."""
        poll = select.poll()
        poll.register(self._stream.fileno(), 0)  # errors are always reported: POLLERR when the reader has closed

        def wait() -> None:
            poll.poll()
            stopping.request()
            stopping.request()

        threading.Thread(target=wait, name="parent", daemon=True).start()


def read_events(stream: IO[str]) -> Iterator[Event]:
    """The parent's side: every event until the child closes its end."""
    for line in stream:
        fields: dict[str, Any] = json.loads(line)
        yield _KINDS[fields.pop("event")](**fields)


def error_of(failed: Failed) -> FairleadError:
    """The child's error again, of the same class where a sentence is all that it is made of."""
    kind = next((one for one in _descendants(FairleadError) if one.__name__ == failed.kind), FairleadError)
    error = kind(failed.message) if kind.__init__ is FairleadError.__init__ else FairleadError(failed.message)
    error.exit_code = failed.exit_code
    return error


def _descendants(kind: type[FairleadError]) -> Iterator[type[FairleadError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)
