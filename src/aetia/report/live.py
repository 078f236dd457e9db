"""The investigation as a tree in the terminal, redrawn as its events happen. Without a terminal it is silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from aetia.model.journal import Event
from aetia.report import wording
from aetia.report.scene import Inquiry, Scene, Standing

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.tree import Tree

HYPOTHESES, QUESTIONS, ANSWERS, LINES = 7, 6, 3, 3
"""Rows of each branch at most; fewer on a small terminal."""
KEPT_FREE = 3
"""Lines of the terminal for a title that wraps and for the cursor."""
CUT_OFF = "…"
LONGEST_WAIT_S = 1.0
"""Pauses of a recording that are longer are cut to this."""
Rows = list[tuple[str, str]]
_STYLES = {"proposed": "", "supported": "yellow", "refuted": "dim", "verified": "bold green"}


class LiveTree:
    """Give it every event of an investigation, by `tell`. A context manager, so that the cursor always comes back.

    It draws on stderr, or on the console that it is given, and only where that is a terminal. What is drawn comes from
    the events alone.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console as RichConsole

        self.scene = Scene()
        self._console = console or RichConsole(stderr=True, highlight=False)
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._remarks: list[str] = []

    def tell(self, event: Event) -> None:
        """Take one event and draw the tree anew."""
        with self._lock:
            self.scene.take(event)
        if not self._console.is_terminal:
            return
        if self._live is None:
            from rich.live import Live as RichLive

            self._live = RichLive(console=self._console, get_renderable=self._draw, refresh_per_second=8)
            self._live.start()
        if self.scene.outcome:
            self.close()

    def say(self, remark: str) -> None:
        """A remark to the person in front of it, such as the answer to a wish."""
        with self._lock:
            self._remarks = [*self._remarks, wording.plain(remark)][-LINES:]

    def names(self) -> tuple[str, ...]:
        """Candidates by name, for wishes that mean one of them."""
        with self._lock:
            return tuple(self.scene.standings)

    def close(self) -> None:
        """Draw a last time and give the terminal back; what was drawn stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __enter__(self) -> LiveTree:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _draw(self) -> Tree:
        with self._lock:
            return picture(self.scene, self._remarks, self._console.height)


def play(
    events: Sequence[Event], tree: LiveTree, *, speed: float = 1.0, wait: Callable[[float], None] = time.sleep
) -> None:
    """Show a recorded investigation `speed` times as fast as it happened; long pauses are cut."""
    before = 0.0
    for event in events:
        pause = min((event.at_s - before) / speed, LONGEST_WAIT_S)
        if pause > 0:
            wait(pause)
        before = max(before, event.at_s)
        tree.tell(event)


def picture(scene: Scene, remarks: Sequence[str] = (), height: int | None = None) -> Tree:
    """The tree of one moment, in so many lines where a height is given."""
    from rich.text import Text
    from rich.tree import Tree as RichTree

    tree = RichTree(Text(_title(scene), style="bold"), guide_style="dim")
    for title, rows in _fitting([item for item in _branches(scene, remarks) if item[1]], height):
        branch = tree.add(Text(title, style="dim"))
        for text, style in rows:
            branch.add(Text(text, style=style, no_wrap=True, overflow="ellipsis"))
    return tree


def _fitting(branches: list[tuple[str, Rows]], height: int | None) -> list[tuple[str, Rows]]:
    """The branches with the longest ones cut, so that none vanishes below the edge of a small terminal."""
    kept = [(title, list(rows)) for title, rows in branches]
    room = max((height or 0) - KEPT_FREE, 0)
    while height is not None and sum(1 + len(rows) for _, rows in kept) > room:
        longest = max((rows for _, rows in kept), key=len)
        if len(longest) < 2:
            break
        del longest[-1]
        longest[-1] = (CUT_OFF, "dim")
    return kept


def _title(scene: Scene) -> str:
    hurt = f"{scene.severity} incident" if scene.severity else ""
    if scene.outcome:
        ended = [f"{scene.outcome} after {wording.duration_ns(scene.at_s * 1e9)}", hurt, _spent(scene)]
        return f"{', '.join(filter(None, ended))}: {scene.headline}"
    seconds, calls, tokens = scene.left
    left = f"left: {seconds:.1f} s, {calls} calls, {wording.number(float(tokens))} tokens"
    if scene.cost is not None and scene.max_cost is not None:
        left += f", {wording.number(max(scene.max_cost - scene.cost, 0.0))} of {wording.number(scene.max_cost)} money"
    spent = _spent(scene) if scene.max_cost is None else ""
    return " · ".join(filter(None, (f"{wording.plain(scene.policy, 40)} investigates", hurt, left, spent)))


def _spent(scene: Scene) -> str:
    """What was paid, in the currency of the price; nothing without one."""
    return f"{wording.number(scene.cost)} paid" if scene.cost is not None else ""


def _branches(scene: Scene, remarks: Sequence[str]) -> Iterator[tuple[str, Rows]]:
    ranked = scene.ranked()
    more = len(ranked) - HYPOTHESES
    rows = [(_standing(item), _STYLES[item.state]) for item in ranked[:HYPOTHESES]]
    yield "hypotheses", rows + ([(f"and {more} more", "dim")] if more > 0 else [])
    waiting = list(scene.waiting.values())
    rows = [(_question(item), "cyan") for item in waiting[:QUESTIONS]]
    left = len(waiting) - QUESTIONS
    yield "asking", rows + ([(f"and {left} more", "dim")] if left > 0 else [])
    yield "answers", [(f"{_question(item)}: {item.answer}", "") for item in scene.answered[-ANSWERS:]]
    yield "path", [(line, "") for line in scene.hops[-LINES:]]
    yield "seen before", [(line, "") for line in scene.seen_before[:LINES]]
    yield "warnings", [(line, "bold red") for line in scene.warnings[-LINES:]]
    yield "wishes", [(line, "magenta") for line in (*scene.wishes, *remarks)[-LINES:]]


def _standing(item: Standing) -> str:
    way = "▲" if item.belief > item.before else "▼" if item.belief < item.before else " "
    why = f" · {item.reason}" if item.reason and item.reason != item.state else ""
    moved = f", first {wording.percent(item.first)}" if item.first != item.belief else ""
    return f"{way} {wording.percent(item.belief):>8}  {wording.plain(item.name, 60)} ({item.state}{moved}){why}"


def _question(item: Inquiry) -> str:
    return f"{item.agent}: {item.what}{f' – {item.why}' if item.why else ''}"
