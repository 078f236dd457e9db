"""Wishes from the keyboard: words to steers, names to candidates, and a real terminal."""

from __future__ import annotations

import io
import os
import pty
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aetia.model.journal import Steer
from aetia.report.wishes import HELP, Wishes, wish

NAMES = ("cart", "Cart-DB", "front", "frontend GET /", "mail service")


@pytest.mark.parametrize(
    ("line", "steer"),
    [
        ("exclude cart", Steer(wish="exclude", entity="cart")), ("look front", Steer(wish="look_at", entity="front")),
        ("  LOOK   cart-db ", Steer(wish="look_at", entity="Cart-DB")), ("stop", Steer(wish="stop")),
        ("exclude mail", Steer(wish="exclude", entity="mail service")),
        ("look frontend GET /", Steer(wish="look_at", entity="frontend GET /")),
    ],
)  # fmt: skip
def test_a_line_becomes_a_steer(line: str, steer: Steer) -> None:
    assert wish(line, NAMES) == steer


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("exclude kart", "did you mean cart"), ("look c", "could be cart, Cart-DB"), ("exclude", HELP),
        ("delete everything", HELP), ("stop cart", HELP), ("look qqqqqqq", "the tree lists them"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_answered(line: str, words: str) -> None:
    said = wish(line, NAMES)
    assert isinstance(said, str) and words in said


@given(line=st.text(), names=st.lists(st.text(), max_size=4))
def test_any_line_is_a_steer_about_a_candidate_or_a_printable_sentence(line: str, names: list[str]) -> None:
    found = wish(line, names)
    if isinstance(found, str):
        assert found.isprintable() and found.endswith((".", "?"))
    else:
        assert found.wish == "stop" or found.entity in names


@pytest.mark.parametrize("stream", [io.StringIO("stop\n"), open(os.devnull)])  # noqa: PTH123, SIM115
def test_what_is_no_terminal_is_never_read(stream: io.StringIO) -> None:
    assert Wishes(lambda: NAMES, print, stream)() == ()
    assert stream.tell() == 0


def test_a_pipe_keeps_its_content() -> None:
    out, into = os.pipe()
    os.write(into, b"stop\n")
    with os.fdopen(out) as stream:
        assert Wishes(lambda: NAMES, print, stream)() == ()
        os.close(into)
        assert stream.read() == "stop\n"


CHILD = """
import sys, time
from aetia.report.wishes import Wishes
wishes = Wishes(lambda: ("cart", "front"), lambda said: print("SAID", said, flush=True))
print("READY", wishes(), flush=True)
until = time.monotonic() + 20
while time.monotonic() < until:
    for steer in wishes():
        print("STEER", steer.wish, steer.entity, flush=True)
        if steer.wish == "stop":
            sys.exit(0)
    time.sleep(0.01)
"""


def test_a_person_at_a_terminal_is_heard_without_being_waited_for() -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", CHILD])
    said = b""

    def until(words: bytes) -> None:
        nonlocal said
        end = time.monotonic() + 20
        while words not in said and time.monotonic() < end:
            said += os.read(terminal, 4096)

    until(b"READY ()")
    os.write(terminal, b"exclude kart\nlook fr")
    until(b"did you mean cart")
    os.write(terminal, b"ont\n")
    until(b"STEER look_at front")
    os.write(terminal, b"stop\n")
    until(b"STEER stop")
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, said
    assert b"STEER look_at front" in said
