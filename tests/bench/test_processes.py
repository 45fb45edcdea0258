import os
import sys
import time

import pytest

from bench.errors import BenchError
from bench.processes import cpu_seconds, find_url, running

SAYS_READY = "import time; print('Ready: http://127.0.0.1:1234/v1', flush=True); time.sleep(600)"


@pytest.mark.parametrize(
    ("line", "url"),
    [
        ("Ready: http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("Ready: http://127.0.0.1:8000/v1  (tiny-chat)", "http://127.0.0.1:8000"),
        ("Ready: soon", None),
        ("Not ready: http://127.0.0.1:8000", None),
    ],
    ids=["alone", "with a path and more", "without a URL", "another line"],
)
def test_the_address_is_found_in_the_line_that_says_ready(line: str, url: str | None) -> None:
    assert find_url(line, "Ready") == url


def test_the_cpu_time_of_a_process_is_its_own_clocks() -> None:
    before = time.process_time()
    between = cpu_seconds(os.getpid())
    after = time.process_time()
    assert before - 0.02 <= between <= after + 0.02


async def test_a_server_runs_as_long_as_its_block() -> None:
    async with running("it", [sys.executable, "-c", SAYS_READY], ready="Ready", seconds=60) as server:
        assert server.url == "http://127.0.0.1:1234"
        assert server.running
    assert not server.running


async def test_a_server_that_ends_is_reported_with_its_last_words() -> None:
    command = [sys.executable, "-c", "print('no such model'); raise SystemExit(1)"]
    with pytest.raises(BenchError, match=r"it ended.*\n.*no such model"):
        async with running("it", command, ready="Ready", seconds=60):
            pytest.fail("it never became ready")
