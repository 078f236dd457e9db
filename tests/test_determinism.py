"""The same input gives the same answer, to the last digit, in every process and with any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from aetia import parallel
from aetia.api import diagnose
from aetia.lab.sim import large_incident
from aetia.model.diagnosis import Diagnosis
from aetia.signals import view

SCRIPT = """
import sys, msgspec, aetia
print(repr(msgspec.structs.replace(aetia.diagnose(sys.argv[1]), cost=None)))
"""


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An incident with enough rows for threads to be used."""
    folder = tmp_path_factory.mktemp("determinism") / "case"
    large_incident(folder, 24_000, 20_000, 16_000, seed=3)
    return folder


def answer(found: Diagnosis) -> str:
    return repr(msgspec.structs.replace(found, cost=None))


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of threads with which tasks were started side by side."""
    used: list[int] = []
    count = parallel.thread_count

    def noted() -> int:
        used.append(count())
        return used[-1]

    monkeypatch.setattr(parallel, "thread_count", noted)
    return used


def test_the_number_of_threads_changes_no_digit_of_the_answer(
    case: Path, threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: set[str] = set()
    for number in (1, 2, 4):
        monkeypatch.setenv(parallel.VARIABLE, str(number))
        answers.add(answer(diagnose(case)))
        assert set(threads) == {number}
        threads.clear()
    assert len(answers) == 1


def test_two_diagnoses_in_one_process_are_equal_and_need_no_threads(
    case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = answer(diagnose(case))
    monkeypatch.setattr(view, "WORTH_THREADS", 1 << 60)
    assert answer(diagnose(case)) == first


def test_fresh_processes_with_other_hash_seeds_give_the_same_answer(case: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(case)],
            env=os.environ | {"PYTHONHASHSEED": seed, parallel.VARIABLE: number},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed, number in (("1", "1"), ("2", "3"))
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    assert outputs[0].strip() == answer(diagnose(str(case)))


def test_tasks_side_by_side_give_their_results_in_order_and_the_first_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(parallel.VARIABLE, "3")

    def fail(text: str) -> int:
        raise ValueError(text)

    assert parallel.side_by_side([lambda k=k: k * k for k in range(50)]) == [k * k for k in range(50)]
    with pytest.raises(ValueError, match="first"):
        parallel.side_by_side([lambda: 1, lambda: fail("first"), lambda: fail("second")])


def test_tasks_inside_a_task_run_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(parallel.VARIABLE, "2")
    order: list[int] = []

    def inner() -> None:
        parallel.side_by_side([lambda k=k: order.append(k) for k in range(20)])

    parallel.side_by_side([inner, lambda: None])
    assert order == list(range(20))
