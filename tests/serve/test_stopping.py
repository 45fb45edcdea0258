"""What the signals mean."""

import os
import signal
import threading

import pytest

from fairlead_serve.stopping import Stopping


def test_the_first_request_drains_and_the_second_ends_at_once() -> None:
    stopping = Stopping()
    assert not stopping.drain.is_set()
    stopping.request()
    assert stopping.drain.is_set()
    assert not stopping.leave.is_set()
    stopping.request()
    assert stopping.leave.is_set()


def test_listeners_hear_every_request_while_they_listen() -> None:
    stopping = Stopping()
    heard: list[bool] = []
    with stopping.listening(lambda: heard.append(stopping.leave.is_set())):
        stopping.request()
        stopping.request()
    stopping.request()
    assert heard == [False, True]


def test_who_listens_late_hears_what_was_asked_for_before() -> None:
    stopping = Stopping()
    stopping.request()
    heard: list[int] = []
    with stopping.listening(lambda: heard.append(1)):
        assert heard == [1]


def test_a_listener_that_fails_at_once_does_not_stay() -> None:
    stopping = Stopping()
    stopping.request()

    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError), stopping.listening(fail):
        pytest.fail("the block was entered")
    stopping.request()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_requests_and_the_old_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    stopping = Stopping()
    with stopping.on_signals():
        os.kill(os.getpid(), number)
        assert stopping.drain.wait(10)
        os.kill(os.getpid(), number)
        assert stopping.leave.wait(10)
    assert signal.getsignal(number) is before


def test_handlers_that_others_put_in_are_undone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Stopping().kept():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_drain_may_be_waited_for_in_another_thread() -> None:
    stopping = Stopping()
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(stopping.drain.wait(10)))
    thread.start()
    stopping.request()
    thread.join()
    assert seen == [True]


def test_a_third_request_changes_nothing() -> None:
    stopping = Stopping()
    for _ in range(3):
        stopping.request()
    assert stopping.drain.is_set()
    assert stopping.leave.is_set()


def test_a_request_in_the_middle_of_a_request_is_the_second_one() -> None:
    stopping = Stopping()
    lock = vars(stopping.drain)["_cond"]
    with lock:  # as a signal finds it that comes while the first one's handler sets the event
        stopping._asked = 1
        thread = threading.Thread(target=stopping.request, daemon=True)
        thread.start()
        thread.join(10)
        assert stopping.leave.is_set()
