"""Training records: every step of a journal, as it was met, with what came of it."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from learning import Looking, pursue, ruled, wandering

from aetia.model.errors import ReportError
from aetia.model.journal import Answered, Asked, Believed, ToolCall
from aetia.reason.policies.learned import Learned
from aetia.reason.policy import Desk, Limits, Steps
from aetia.reason.transitions import transitions


def test_what_a_policy_saw_is_what_its_journal_tells() -> None:
    chooser = wandering()
    _, events = pursue(Learned(chooser))
    steps = list(transitions(events))
    chosen = steps[: len(chooser.seen)]
    for step, seen in zip(chosen, chooser.seen, strict=False):
        assert step.observation.actions == seen.actions
        assert step.observation.values.tobytes() == seen.values.tobytes()
    assert len(chosen) >= len(chooser.seen) - 1  # its end comes after the path was checked


def test_every_question_of_rules_is_an_action_and_its_end_is_the_last() -> None:
    events = ruled()
    asked = [event.request for event in events if isinstance(event, Asked)]
    steps = list(transitions(events))
    assert [step.call for step in steps] == [*asked, None]
    assert all(step.taken is not None for step in steps)
    for step in steps[:-1]:
        assert step.taken is not None and step.call is not None
        call = step.observation.actions[step.taken].call
        assert call is not None and (call.tool, step.call.args.items() >= call.args.items()) == (step.call.tool, True)
    assert steps[-1].taken == len(steps[-1].observation.actions) - 2
    assert steps[-1].outcome.diagnosis is not None


def test_what_came_of_a_question_is_told_as_facts() -> None:
    events = ruled()
    steps = list(transitions(events))
    found = [step for step in steps if step.outcome.evidence is not None]
    assert found and found[0].outcome.new and found[0].outcome.rows > 0
    moved = {move for step in steps for move in step.outcome.moves}
    told = {event for event in events if isinstance(event, Believed) and event.before != event.after}
    assert {move for move in moved if move.before != move.after} == moved <= told


def test_a_journal_that_was_cut_off_is_told_as_far_as_it_goes() -> None:
    whole = list(transitions(ruled()))
    third = [at for at, event in enumerate(ruled()) if isinstance(event, Answered)][2]
    part = list(transitions(ruled()[:third]))
    assert 0 < len(part) < len(whole)
    for one, other in zip(part, whole, strict=False):
        assert (one.taken, one.observation.actions) == (other.taken, other.observation.actions)


def test_a_question_outside_the_action_space_is_a_step_without_an_action() -> None:
    def steps(desk: Desk) -> Steps:
        yield (ToolCall(tool="trace_children", args={"span": "feed"}, why="one level deeper"),)

    _, events = pursue(Looking(steps))
    first, end = transitions(events)
    assert first.taken is None and first.call is not None and first.outcome.error is not None
    assert end.call is None


def test_what_was_refused_is_no_step_and_an_end_by_the_limits_is_nobodys() -> None:
    def steps(desk: Desk) -> Steps:
        call = ToolCall(tool="overview", why="where to begin?")
        yield (call, replace_why(call))
        yield (ToolCall(tool="overview", args={"of": "nodes"}, why="and on which node?"),)

    _, events = pursue(Looking(steps), limits=Limits(max_calls=3))
    told = list(transitions(events))
    assert [step.call.tool if step.call else None for step in told] == ["overview", "overview"]
    assert [step.call.args for step in told if step.call] == [{}, {"of": "nodes"}]


def replace_why(call: ToolCall) -> ToolCall:
    return msgspec.structs.replace(call, why="again")


def test_events_that_open_nothing_are_refused() -> None:
    with pytest.raises((ReportError, AssertionError)):
        list(transitions(ruled()[1:]))


def test_the_step_is_a_value() -> None:
    step = next(transitions(ruled()))
    assert replace(step, taken=None).observation is step.observation
