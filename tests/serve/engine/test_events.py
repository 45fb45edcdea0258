"""What an engine process tells its parent arrives as it was said."""

import contextlib
import io
import os
import threading

from fairlead_serve.engine.events import EngineAddress, Event, EventWriter, Failed, error_of, read_events
from fairlead_serve.errors import ConfigurationError, FairleadError, ModelFileError, Problem, WeightsNotFound
from fairlead_serve.progress import Report
from fairlead_serve.stopping import Stopping


def test_every_kind_of_event_arrives_as_it_was_written() -> None:
    events: list[Event] = [
        Report("tiny-chat", "Downloading", 3, 9),
        Report("tiny-chat", "Loading the engine", final=True),
        EngineAddress("http://127.0.0.1:1", "http://127.0.0.1:2/metrics", "/logs"),
        Failed("DiskFull", "no room: ü", 1),
    ]
    stream = io.StringIO()
    writer = EventWriter(stream)
    for event in events:
        writer.write(event)
    stream.seek(0)
    assert list(read_events(stream)) == events


def told(error: FairleadError) -> FairleadError:
    stream = io.StringIO()
    EventWriter(stream).fail(error)
    stream.seek(0)
    (failed,) = read_events(stream)
    assert isinstance(failed, Failed)
    return error_of(failed)


def test_an_error_keeps_its_class_its_sentence_and_its_exit_code() -> None:
    error = told(WeightsNotFound("there is no such model"))
    assert type(error) is WeightsNotFound
    assert str(error) == "there is no such model"
    assert told(ConfigurationError("wrong")).exit_code == 2


def test_an_error_made_of_more_than_a_sentence_keeps_sentence_and_exit_code() -> None:
    error = told(ModelFileError("a.yaml", [Problem("spec", "missing")]))
    assert str(error) == "a.yaml: spec: missing"
    assert error.exit_code == 2


def test_a_parent_that_is_gone_ends_the_process_at_once_and_is_told_nothing() -> None:
    read_end, write_end = os.pipe()
    stopping = Stopping()
    left = threading.Event()

    def note() -> None:
        if stopping.leave.is_set():
            left.set()

    stream = os.fdopen(write_end, "w")
    with stopping.listening(note):
        writer = EventWriter(stream)
        writer.end_with_reader(stopping)
        assert not stopping.drain.is_set()
        os.close(read_end)
        assert left.wait(10)
        writer.write(Report("x", "y"))
    with contextlib.suppress(BrokenPipeError):  # what was written to nobody is still in its buffer
        stream.close()
