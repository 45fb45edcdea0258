"""The queue of Models: what is handed out, when, and to how many."""

import itertools
import threading

import pytest

from fairlead_operator.kinds import Key
from fairlead_operator.work_queue import Backoff, WorkQueue

A, B, C = (Key("ns", name) for name in "abc")


class Clock:
    """Time that a test makes."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue:
    return WorkQueue(clock=clock, spread=lambda: 1.0)


def taken(queue: WorkQueue) -> list[Key]:
    """Everything that is handed out now."""
    return list(itertools.takewhile(lambda key: key is not None, iter(queue.poll, None)))


def test_keys_come_in_the_order_in_which_they_were_added(queue: WorkQueue) -> None:
    for key in (B, A, C):
        queue.add(key)
    assert taken(queue) == [B, A, C]


def test_what_people_wait_for_goes_before_the_rest_and_once(queue: WorkQueue) -> None:
    queue.add(A)
    queue.add(B)
    queue.add_first(C)
    queue.add_first(B)
    queue.add(C)
    assert queue.depth == 3
    assert taken(queue) == [C, B, A]


def test_what_people_wait_for_waits_for_the_work_on_it_to_end(queue: WorkQueue) -> None:
    queue.add(A)
    assert queue.poll() == A
    queue.add_first(A)
    assert queue.poll() is None
    queue.done(A)
    assert taken(queue) == [A]


def test_a_key_that_is_added_while_it_waits_is_handed_out_once(queue: WorkQueue) -> None:
    for key in (A, B, A, A):
        queue.add(key)
    assert taken(queue) == [A, B]


def test_a_key_that_is_added_while_it_is_worked_on_is_handed_out_once_more_after(queue: WorkQueue) -> None:
    queue.add(A)
    assert queue.poll() == A
    queue.add(A)
    queue.add(A)
    assert queue.poll() is None
    queue.done(A)
    assert taken(queue) == [A]
    queue.done(A)
    assert queue.poll() is None


@pytest.mark.parametrize(
    ("adds", "due"),
    [([10], 10), ([10, 20], 10), ([20, 10], 10), ([10, 10], 10)],
    ids=["one", "a later one after", "an earlier one after", "the same twice"],
)
def test_of_several_times_the_earliest_holds_and_only_that(
    queue: WorkQueue, clock: Clock, adds: list[float], due: float
) -> None:
    for seconds in adds:
        queue.add_after(A, seconds)
    clock.advance(due - 0.5)
    assert queue.poll() is None
    clock.advance(0.5)
    assert queue.poll() == A
    queue.done(A)
    clock.advance(100)
    assert queue.poll() is None


def test_a_key_that_is_handed_out_need_not_come_back_at_its_time(queue: WorkQueue, clock: Clock) -> None:
    queue.add_after(A, 10)
    queue.add(A)
    assert queue.poll() == A
    queue.done(A)
    clock.advance(20)
    assert queue.poll() is None
    assert queue.delayed == 0


def test_a_key_whose_time_comes_while_it_is_worked_on_is_handed_out_after(queue: WorkQueue, clock: Clock) -> None:
    queue.add(A)
    queue.poll()
    queue.add_after(A, 1)
    clock.advance(2)
    assert queue.poll() is None
    queue.done(A)
    assert queue.poll() == A


def test_each_failure_in_a_row_doubles_the_wait_up_to_the_longest(clock: Clock) -> None:
    queue = WorkQueue(clock=clock, backoff=Backoff(first=1, longest=10), spread=lambda: 1.0)
    assert [queue.retry(A) for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert queue.retry(B) == 1
    queue.forget(A)
    assert queue.retry(A) == 1


@pytest.mark.parametrize(("spread", "seconds"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_the_wait_after_a_failure_is_spread(clock: Clock, spread: float, seconds: float) -> None:
    queue = WorkQueue(clock=clock, backoff=Backoff(first=1), spread=lambda: spread)
    assert queue.retry(A) == seconds


def test_a_thousand_failures_wait_no_longer_than_the_longest(queue: WorkQueue) -> None:
    assert [queue.retry(A) for _ in range(1000)][-1] == 300


def test_a_change_does_not_wait_for_the_end_of_a_wait(queue: WorkQueue) -> None:
    for _ in range(20):
        queue.retry(A)
    queue.add(A)
    assert queue.poll() == A


def test_a_closed_queue_hands_out_nothing_and_keeps_what_is_added(queue: WorkQueue) -> None:
    queue.close()
    queue.add(A)
    assert (queue.poll(), queue.get()) == (None, None)
    queue.open()
    assert queue.get() == A


def test_the_time_that_a_key_waited_for_hands_is_told(clock: Clock) -> None:
    waits: list[float] = []
    queue = WorkQueue(clock=clock, on_wait=waits.append)
    queue.add(A)
    clock.advance(3)
    queue.add_after(B, 1)
    clock.advance(2)
    assert taken(queue) == [A, B]
    assert waits == [5, 1]


def test_closing_wakes_those_who_wait() -> None:
    queue = WorkQueue()
    got: list[Key | None] = []
    waiting = [threading.Thread(target=lambda: got.append(queue.get())) for _ in range(3)]
    for thread in waiting:
        thread.start()
    queue.close()
    for thread in waiting:
        thread.join(10)
    assert got == [None, None, None]


def test_who_waits_gets_a_key_when_its_time_comes() -> None:
    queue = WorkQueue()
    queue.add_after(A, 0.05)
    assert queue.get() == A


def test_one_key_is_never_in_two_pairs_of_hands() -> None:
    queue = WorkQueue()
    keys = [Key("ns", str(number)) for number in range(5)]
    lock, in_hands, worked, clashes = threading.Lock(), set[Key](), dict.fromkeys(keys, 0), list[Key]()

    def work() -> None:
        while (key := queue.get()) is not None:
            with lock:
                if key in in_hands:
                    clashes.append(key)
                in_hands.add(key)
            if worked[key] < 200:
                queue.add(key)
            worked[key] += 1
            with lock:
                in_hands.remove(key)
                over = all(count > 200 for count in worked.values())
            queue.done(key)
            if over:
                queue.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for key in keys:
        queue.add(key)
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert clashes == []
    assert set(worked.values()) == {201}
