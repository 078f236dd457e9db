"""Work hears when nobody waits for its answer any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from aetia.model.errors import GivenUp
from aetia.model.patience import PATIENCE, Patience, given_up, go_on, left_s, stopping


@contextmanager
def waiting(seconds: float = 60.0) -> Iterator[Patience]:
    patience = Patience(seconds)
    token = PATIENCE.set(patience)
    try:
        yield patience
    finally:
        PATIENCE.reset(token)


def test_without_anybody_waiting_work_runs_to_its_end() -> None:
    go_on()
    assert not given_up() and left_s(30.0) == 30.0
    with stopping(lambda: pytest.fail("nobody ends it")):
        go_on()


def test_every_wait_is_ended_and_ended_again_until_the_work_is_over() -> None:
    calls: list[str] = []
    with waiting() as patience, stopping(lambda: calls.append("outer")):
        with stopping(lambda: calls.append("inner")):
            patience.end()
            patience.end()
        patience.end()
        assert calls == ["outer", "inner", "outer", "inner", "outer"]
        assert given_up()
        with pytest.raises(GivenUp):
            go_on()
        with pytest.raises(GivenUp), stopping(lambda: calls.append("late")):
            raise AssertionError("a wait that nobody needs begins")
    assert len(calls) == 5


def test_what_is_stopped_may_be_closed_right_after_the_wait() -> None:
    closed = threading.Event()
    wrong: list[str] = []
    with waiting() as patience:
        thread = threading.Thread(target=lambda: [patience.end() for _ in range(2000)])
        with stopping(lambda: wrong.append("stopped after it was closed") if closed.is_set() else None):
            thread.start()
        closed.set()
        thread.join()
    assert wrong == []


def test_the_time_that_is_left_is_the_shorter_one() -> None:
    with waiting(10.0):
        assert left_s(5.0) == 5.0 and 9.0 < left_s(30.0) <= 10.0
    with waiting(0.0):
        assert left_s(30.0) == 0.0
