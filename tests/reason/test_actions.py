"""Actions and observations: all that can be asked, nothing invented, and numbers that know no names."""

from __future__ import annotations

import numpy as np
import pytest
from learning import Chooser, Looking, asking, column, prior, pursue, ruled, wandering

from aetia import contracts, plugins
from aetia.contracts.policies import pursue as contracts_pursue
from aetia.model.journal import Answered, Asked, Closed, Steer, ToolAnswer, ToolCall
from aetia.reason.actions import ABSTAIN, FINISH, FORMS, actions, question
from aetia.reason.observations import FEATURES, NAMES, observe
from aetia.reason.policies.learned import Learned
from aetia.reason.policies.rules import Rules
from aetia.reason.policy import Desk, Steps
from aetia.reason.toolbox import Tool
from aetia.reason.transitions import transitions


def shown() -> tuple[Chooser, list[object]]:
    """Everything that a policy of many questions is shown."""
    chooser = wandering()
    _, events = pursue(Learned(chooser))
    return chooser, list(events)


def test_every_form_asks_a_tool_that_is_there_with_arguments_that_it_takes() -> None:
    for form in FORMS:
        tool: Tool[object] = plugins.create("tool", form.tool)
        assert set(form.args) <= set(tool.Args.__struct_fields__)
    assert {form.tool for form in FORMS} == set(plugins.names("tool")), "give a new tool its forms"


def test_only_new_questions_about_known_names_are_offered_and_an_end_always_is() -> None:
    chooser, events = shown()
    asked: set[str] = set()
    names = {item.entity.service for item in prior().hypotheses} | {item.entity.node for item in prior().hypotheses}
    names |= {hop for item in prior().propagation for hop in (item.source, item.target)}
    assert prior().incident is not None
    names |= {breach.entry.service for breach in prior().incident.breaches}  # type: ignore[union-attr]
    answers = iter([event for event in events if isinstance(event, Answered)])
    assert len(chooser.seen) > 10
    for observation in chooser.seen:
        keys = [action.key for action in observation.actions]
        assert len(set(keys)) == len(keys) and not asked & set(keys)
        assert observation.actions[-2:] == (FINISH, ABSTAIN)
        assert {name for action in observation.actions for name in (action.place, action.caller) if name} <= names
        answered = next(answers, None)
        if answered is not None and isinstance(answered.answer, ToolAnswer):
            request = next(e.request for e in events if isinstance(e, Asked) and e.number == answered.number)
            assert isinstance(request, ToolCall)
            asked.add(question(request))
            names |= {row[key] for row in answered.answer.rows for key in ("name", "source", "target") if key in row}


def test_calls_are_offered_once_somebody_has_seen_them() -> None:
    chooser = asking("topology")
    pursue(Learned(chooser))
    before, after = ({(a.caller, a.place) for a in seen.actions if a.form == "link"} for seen in chooser.seen)
    assert before < after


def test_the_same_question_spelled_otherwise_is_the_same() -> None:
    short = ToolCall(tool="compare", args={"component": "a"})
    assert question(short) == question(ToolCall(tool="compare", args={"component": "a", "against": "baseline"}))
    assert question(short) != question(ToolCall(tool="compare", args={"component": "a", "against": "peers"}))


def test_whom_a_person_excludes_is_not_asked_about_and_whom_they_wish_to_see_comes_first() -> None:
    first, last = prior().hypotheses[0].entity, prior().hypotheses[-1].entity
    seen: list[tuple[str, ...]] = []

    def steps(desk: Desk) -> Steps:
        seen.append(tuple(action.place for action in actions(desk)))
        desk.steered(Steer(wish="exclude", entity=first.name))
        desk.steered(Steer(wish="look_at", entity=last.name))
        seen.append(tuple(action.place for action in actions(desk)))
        yield ()

    pursue(Looking(steps))
    assert first.service in seen[0] and first.service not in seen[1]
    assert seen[1][0] == (last.service or last.node)


def test_features_have_names_ranges_and_words() -> None:
    assert len(set(NAMES)) == len(FEATURES)
    assert all(item.says and item.range in ("0..1", "-1..1", "0 or 1") for item in FEATURES)


def test_all_features_stay_within_their_ranges_and_most_of_them_are_used() -> None:
    chooser, _ = shown()
    rows = np.concatenate([observation.values for observation in chooser.seen])
    low = np.array([-1.0 if item.range == "-1..1" else 0.0 for item in FEATURES])
    assert np.isfinite(rows).all() and (rows >= low).all() and (rows <= 1.0).all()
    flags = [at for at, item in enumerate(FEATURES) if item.range == "0 or 1"]
    assert set(np.unique(rows[:, flags]).tolist()) <= {0.0, 1.0}
    unused = [NAMES[at] for at in np.flatnonzero(~(rows != 0).any(axis=0)).tolist()]
    assert len(unused) < len(NAMES) / 4, unused


def test_looking_at_a_desk_changes_nothing_and_gives_the_same_each_time() -> None:
    seen: list[bytes] = []

    def steps(desk: Desk) -> Steps:
        seen.extend(observe(desk).values.tobytes() for _ in range(2))
        assert not observe(desk).values.flags.writeable
        yield ()

    pursue(Looking(steps))
    pursue(Looking(steps))
    assert len(set(seen)) == 1


@pytest.mark.parametrize("at", [0, 1])
def test_names_of_services_are_not_in_it(at: int) -> None:
    _, other = contracts.renamed()[at]
    first, second = (list(transitions(contracts_pursue(Rules, one)[1])) for one in (contracts.ordinary(), other))
    assert len(first) == len(second) > 0
    for one, two in zip(first, second, strict=True):
        assert np.allclose(_sorted(one.observation.values), _sorted(two.observation.values), atol=1e-9)


def _sorted(values: np.ndarray) -> np.ndarray:
    rounded = np.round(values, 9)
    return rounded[np.lexsort(rounded.T)]


def test_belief_budget_and_what_was_asked_are_in_it() -> None:
    chooser = asking("metrics", "metrics")
    pursue(Learned(chooser))
    first, then = chooser.seen[0], chooser.seen[-1]
    leader = next(at for at, action in enumerate(first.actions) if action.form == "hop")
    assert column(first, "about.leader")[leader] == 1.0
    belief = prior().hypotheses[0].probability
    assert belief is not None and abs(column(first, "about.belief")[leader] - belief) < 1e-9
    assert column(first, "desk.asked")[0] == 0.0 < column(then, "desk.asked")[0]
    assert column(then, "desk.calls_left")[0] < column(first, "desk.calls_left")[0]
    asked = next(at for at, action in enumerate(then.actions) if action.form == "hop")
    assert column(then, "about.asked.metrics")[asked] == 1.0
    assert column(first, "ending.leader")[-2] > 0 == column(first, "ending.leader")[0]


def test_hops_show_where_blame_came_to_rest() -> None:
    steps = list(transitions(ruled()))
    assert isinstance(ruled()[-1], Closed)
    open_at_first, open_at_last = (column(step.observation, "desk.open_blame")[0] for step in (steps[0], steps[-1]))
    assert open_at_first == 1.0 > open_at_last
    assert column(steps[-1].observation, "about.blame").max() > 0.0
