"""The live tree and its scene, from events alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from aetia.model.journal import (
    Answered,
    Asked,
    Believed,
    Closed,
    Event,
    ModelAnswer,
    ModelCall,
    Opened,
    Price,
    Steer,
    Steered,
    Warned,
)
from aetia.reason.journals import read_journal
from aetia.reason.policy import Policy
from aetia.report.live import LiveTree, picture, play
from aetia.report.scene import Scene

Journals = Callable[..., list[Event]]


def scene_of(events: list[Event]) -> Scene:
    scene = Scene()
    for event in events:
        scene.take(event)
    return scene


def drawn(scene: Scene, width: int = 100) -> str:
    sink = io.StringIO()
    Console(file=sink, width=width, color_system=None).print(picture(scene))
    return sink.getvalue()


def screen(width: int = 100) -> tuple[Console, io.StringIO]:
    sink = io.StringIO()
    return Console(file=sink, force_terminal=True, width=width, height=40, legacy_windows=False), sink


def test_a_scene_knows_what_rises_what_falls_what_is_asked_and_what_is_left(make_journal: Journals) -> None:
    events = make_journal(11)
    first_answer = next(at for at, event in enumerate(events) if isinstance(event, Answered))
    asking = scene_of(events[:first_answer])
    assert [item.agent for item in asking.waiting.values()] == ["root", "root", "dreamer"]
    assert "topology" in drawn(asking) and "what lies ahead" in drawn(asking)
    assert asking.left[1] == asking.max_calls - 3 and asking.left[0] > 0
    end = scene_of(events)
    assert end.outcome == "answered" and not end.waiting and drawn(end).startswith("answered after")
    text = drawn(end, 160)
    assert "▲" in text and "▼" in text and "nobody who depends on it suffers" in text and "(refuted, first" in text
    assert "verified" in text and "failed: there is no tool" in text and "time ✓ direction ?" in text


def test_tokens_warnings_and_wishes_are_shown(make_journal: Journals, engineer: Callable[..., Policy]) -> None:
    events = make_journal(11, engineer(second_look=True), wishes=(Steer(wish="look_at", entity="gift-svc"),))
    more = [
        *events[:-1],
        Asked(number=90, request=ModelCall(messages=({"role": "user"},), why="which is it"), at_s=1.0),
        Answered(number=90, answer=ModelAnswer(tokens_in=900, tokens_out=100), at_s=2.0),
        Warned(check="RF-04", text="the same question again", agent="dreamer", stopped=True, at_s=2.0),
    ]
    scene = scene_of(more)
    assert scene.tokens == 1000 and scene.left[2] == scene.max_tokens - 1000 and scene.at_s == 2.0
    text = drawn(scene, 160)
    assert "look at gift-svc" in text and "RF-04 at dreamer, and ended it: the same question again" in text


def test_the_head_says_how_badly_users_are_hurt_and_what_money_is_left(make_journal: Journals) -> None:
    first, *rest = make_journal(11)
    assert isinstance(first, Opened) and isinstance(rest[-1], Closed) and first.prior.severity is not None
    hurt = f"{first.prior.severity.level} incident"
    plain = drawn(scene_of([first]), 160).splitlines()[0]
    assert hurt in plain and "paid" not in plain and "money" not in plain
    turn = [
        Asked(number=90, request=ModelCall(messages=({"role": "user"},), why="which is it"), at_s=1.0),
        Answered(number=90, answer=ModelAnswer(tokens_in=900, tokens_out=100), at_s=2.0),
    ]
    price = Price(per_million_in=100.0, per_million_out=1000.0)  # this turn costs 0.19
    priced = msgspec.structs.replace(first, price=price)
    assert "0.19 paid" in drawn(scene_of([priced, *turn]), 160).splitlines()[0]
    limited = msgspec.structs.replace(priced, max_cost=0.5)
    assert "0.31 of 0.5 money" in drawn(scene_of([limited, *turn]), 160).splitlines()[0]
    end = drawn(scene_of([limited, *turn, msgspec.structs.replace(rest[-1], cost=0.19)]), 200).splitlines()[0]
    assert end.startswith("answered after") and f", {hurt}, 0.19 paid: Root cause" in end
    unknown = msgspec.structs.replace(first.prior, severity=None)
    assert "incident" not in drawn(scene_of([msgspec.structs.replace(first, prior=unknown)]), 160)


def test_a_scene_is_json_for_a_web_page_and_the_same_in_a_replay(journal_file: Path) -> None:
    events = read_journal(journal_file)
    scene = scene_of(events)
    assert msgspec.json.decode(msgspec.json.encode(scene), type=Scene) == scene == scene_of(events)


def test_names_and_reasons_cannot_write_to_the_terminal() -> None:
    evil = "\x1b[2Jcart\x07" + "x" * 5000
    text = drawn(scene_of([Believed(entity=evil, before=0.5, after=0.6, state="supported", reason=evil)]), 80)
    assert "\x1b" not in text and "\x07" not in text and max(map(len, text.splitlines())) <= 80


def test_the_tree_is_drawn_on_a_terminal_and_stays(make_journal: Journals) -> None:
    console, sink = screen()
    with LiveTree(console) as tree:
        for event in make_journal(11):
            tree.tell(event)
        tree.tell(Warned(check="late", text="after the end"))
    text = sink.getvalue()
    assert "answered after" in text and text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor is back


def test_a_failure_in_the_middle_gives_the_terminal_back(make_journal: Journals) -> None:
    console, sink = screen()
    with pytest.raises(KeyboardInterrupt), LiveTree(console) as tree:
        tree.tell(make_journal(11)[0])
        raise KeyboardInterrupt
    assert sink.getvalue().count("\x1b[?25l") == sink.getvalue().count("\x1b[?25h") == 1


def test_without_a_terminal_nothing_is_printed(make_journal: Journals) -> None:
    sink = io.StringIO()
    with LiveTree(Console(file=sink)) as tree:
        play(make_journal(11), tree, wait=lambda seconds: None)
    assert sink.getvalue() == "" and tree.scene.outcome == "answered"


def test_a_recording_plays_as_fast_as_wanted_and_long_pauses_are_cut(make_journal: Journals) -> None:
    events = make_journal(11)
    end = events[-1]
    assert isinstance(end, Closed)
    late = [
        *events[:-1],
        Warned(check="x", text="y", at_s=events[-1].at_s + 0.5),
        msgspec.structs.replace(end, at_s=99.0),
    ]
    waited: list[float] = []
    play(late, LiveTree(Console(file=io.StringIO())), speed=2.0, wait=waited.append)
    assert waited[-2:] == [pytest.approx(0.25, abs=0.001), 1.0]


def test_a_remark_is_part_of_the_picture() -> None:
    sink = io.StringIO()
    Console(file=sink, width=80).print(picture(Scene(policy="rules"), ["there is no candidate 'kart'"]))
    assert "no candidate 'kart'" in sink.getvalue()


def test_who_was_taken_out_is_not_in_the_ranking_and_beliefs_are_those_of_one_ranking() -> None:
    scene = Scene()
    for name, belief in (("stock", 0.9), ("cart", 0.6), ("web", 0.3)):
        scene.take(Believed(entity=name, before=belief, after=belief, state="supported"))
    assert [item.name for item in scene.ranked()] == ["stock", "cart", "web"]
    assert sum(item.belief for item in scene.ranked()) == pytest.approx(1.0)
    scene.take(Steered(steer=Steer(wish="exclude", entity="stock")))
    assert [(item.name, item.belief) for item in scene.ranked()] == [("cart", 0.6), ("web", 0.3)]
    assert "stock" not in drawn(scene).split("wishes")[0]


@pytest.mark.parametrize("height", [12, 16, 24, 40])
def test_a_small_terminal_shows_every_branch(height: int) -> None:
    scene = Scene()
    for number in range(12):
        scene.take(Believed(entity=f"s{number}", before=0.1, after=0.05 * number, state="proposed"))
        call = ModelCall(messages=(), agent=f"node{number}")
        scene.take(Asked(number=number, request=call, at_s=0.0))
    scene.take(Warned(check="RF-12", text="asks again"))
    scene.take(Steered(steer=Steer(wish="look_at", entity="s3")))
    sink = io.StringIO()
    Console(file=sink, width=100, color_system=None).print(picture(scene, (), height))
    lines = sink.getvalue().rstrip().splitlines()
    assert len(lines) <= max(height, 9)
    assert all(any(title in line for line in lines) for title in ("hypotheses", "asking", "warnings", "wishes"))
    assert any("RF-12" in line for line in lines)
