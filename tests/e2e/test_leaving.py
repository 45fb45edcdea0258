"""How a run ends: streams finish, nothing is left behind, and a second signal does not wait."""

import json
import re
import signal
import threading
from pathlib import Path

import httpx
import psutil
import pytest

from tests.processes import Command, left_behind, model_file

pytestmark = pytest.mark.engine

LOADING = re.compile("Loading the engine")
LONG = {
    "prompt": "Hello",
    "stream": True,
    "max_tokens": 1500,
    "n": 8,
    "temperature": 1,
    "ignore_eos": True,
    "stream_options": {"include_usage": True},
}


def stream_lines(url: str, began: threading.Event, lines: list[str]) -> None:
    with httpx.stream("POST", f"{url}/v1/completions", json=LONG, timeout=120) as answer:
        for line in answer.iter_lines():
            if line:
                lines.append(line)
                began.set()


def test_a_stream_in_flight_finishes_after_sigterm_and_the_exit_code_is_0(tmp_path: Path) -> None:
    with Command("serve", "-f", str(model_file(tmp_path, "one")), "--port", "0") as command:
        url = command.wait_ready()
        began, lines = threading.Event(), list[str]()
        client = threading.Thread(target=stream_lines, args=(url, began, lines))
        client.start()
        assert began.wait(60)
        family = command.family()
        command.signal(signal.SIGTERM)
        client.join(60)
        assert command.wait() == 0
    assert lines[-1] == "data: [DONE]"
    assert json.loads(lines[-2].removeprefix("data: "))["usage"]["completion_tokens"] == 8 * 1500
    assert "Traceback" not in command.output
    assert not left_behind(family)


def test_a_second_signal_ends_at_once_and_leaves_no_process(tmp_path: Path) -> None:
    with Command("serve", "-f", str(model_file(tmp_path, "one")), "--port", "0") as command:
        command.wait_for(LOADING)
        family = command.family()
        command.signal(signal.SIGINT)
        command.signal(signal.SIGINT)
        command.wait()
        assert not left_behind(family)


def test_the_engines_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    with Command("serve", "-f", str(model_file(tmp_path, "one")), "--port", "0") as command:
        command.wait_for(LOADING)
        family = command.family()
        psutil.Process(command.process.pid).kill()
        assert not left_behind(family, seconds=60)
