"""A question that nobody waits for any more ends: its statement, its thread and its place in the pool."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served, served, until

from aetia.store._duck_question import Question, ask

ENDLESS = "SELECT sum(sqrt(a.range * b.range)) FROM range(1000000) a, range(1000000) b"
Answers = Callable[[Question], Any]


def answering(server: Served, answer: Answers) -> None:
    """Let `/api/v1/services` answer with this from the real database."""
    state: Any = server.state
    engine, store = state.backend._engine, state.store
    state.backend.services = lambda *asked: ask(engine, store, None, (), answer)


def again_and_again(question: Question) -> Any:
    while True:
        question.one("SELECT 1")


def busy_seconds(seconds: float = 0.4) -> float:
    """Processor time of this process in that time."""
    began = time.process_time()
    time.sleep(seconds)
    return time.process_time() - began


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Served]:
    limits = {"query_threads": 1, "query_queue": 0, "query_seconds": 0.3}
    with served(tmp_path / "data", {"limits": limits}) as one:
        yield one


@pytest.mark.parametrize("answer", [lambda question: question.one(ENDLESS), again_and_again])
def test_beyond_its_deadline_a_question_frees_the_processor_and_its_place(hasty: Served, answer: Answers) -> None:
    answering(hasty, answer)
    refused = hasty.get("/api/v1/services")
    assert refused.status == 504 and refused.json["error"]["kind"] == "deadline"
    until(lambda: not hasty.state.pool.held, 3)
    assert busy_seconds() < 0.2
    answering(hasty, lambda question: ())
    assert hasty.get("/api/v1/services").status == 200  # in the only thread there is


def test_a_question_ends_with_the_connection_of_its_asker(tmp_path: Path) -> None:
    with served(tmp_path / "data", {"limits": {"query_threads": 1}}) as one:
        answering(one, lambda question: question.one(ENDLESS))
        line = http.client.HTTPConnection(one.host, one.port, timeout=20)
        with contextlib.closing(line):
            line.request("GET", "/api/v1/services")
            until(lambda: one.state.pool.held)
            time.sleep(0.1)
        until(lambda: not one.state.pool.held, 3)
        assert busy_seconds() < 0.2
        rows = {(row["route"], row["status"]) for row in one.get("/api/v1/self").json["routes"]}
        assert ("/api/v1/services", 499) in rows


def test_questions_end_with_the_server(tmp_path: Path) -> None:
    with served(tmp_path / "data") as one:
        pool = one.state.pool
        answering(one, lambda question: question.one(ENDLESS))
        line = http.client.HTTPConnection(one.host, one.port, timeout=20)
        line.request("GET", "/api/v1/services")
        until(lambda: pool.held)
        line.close()
    until(lambda: not pool.held, 3)
    assert busy_seconds() < 0.2
