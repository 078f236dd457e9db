"""Wishes of the person at the terminal, read while an investigation runs: `exclude NAME`, `look NAME`, `stop`."""

from __future__ import annotations

import difflib
import os
import select
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TextIO

from aetia.model.journal import Steer
from aetia.report import wording

HELP = "say exclude NAME, look NAME, or stop."
MOST_BYTES = 4096
"""Of one line; what is longer is no wish."""


def wish(line: str, names: Sequence[str]) -> Steer | str:
    """What a line asks for; a sentence where it asks for nothing that can be done.

    A name is matched against the candidates: as it is, then whatever its case, then as the beginning of only one.
    """
    word, _, rest = line.strip().partition(" ")
    verb, name = word.lower(), rest.strip()
    if verb == "stop" and not name:
        return Steer(wish="stop")
    if verb not in ("exclude", "look") or not name:
        return HELP
    found = _match(name, names)
    if len(found) == 1:
        return Steer(wish="exclude" if verb == "exclude" else "look_at", entity=found[0])
    if found:
        return f"{wording.plain(name, 60)!r} could be {wording.joined(map(wording.plain, found))}."
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    hint = f"did you mean {wording.joined(map(wording.plain, near))}?" if near else "the tree lists them."
    return f"there is no candidate {wording.plain(name, 60)!r}; {hint}"


def _match(name: str, names: Sequence[str]) -> list[str]:
    if name in names:
        return [name]
    folded = [known for known in names if known.casefold() == name.casefold()]
    return folded or [known for known in names if known.casefold().startswith(name.casefold())]


class Wishes:
    """Call it for the wishes since the last call; it never waits. Only a terminal in the foreground is read, so that a
    pipe keeps its content and a job in the background is not stopped for asking."""

    def __init__(
        self, names: Callable[[], Iterable[str]], say: Callable[[str], None], stream: TextIO | None = None
    ) -> None:
        self._names, self._say = names, say
        self._stream = stream if stream is not None else sys.stdin
        self._rest = b""

    def __call__(self) -> tuple[Steer, ...]:
        known = tuple(self._names())
        found: list[Steer] = []
        for line in self._lines():
            if line.strip():
                asked = wish(line, known)
                if isinstance(asked, Steer):
                    found.append(asked)
                else:
                    self._say(asked)
        return tuple(found)

    def _lines(self) -> list[str]:
        """Whole lines that have been typed."""
        try:
            source = self._stream.fileno()
            while _is_ours(source) and select.select([source], [], [], 0)[0]:
                read = os.read(source, MOST_BYTES)
                if not read:
                    break
                self._rest += read
        except (OSError, ValueError):  # closed, no file, or no terminal that can be asked
            return []
        *lines, self._rest = self._rest.split(b"\n")
        self._rest = self._rest[-MOST_BYTES:]
        return [line[:MOST_BYTES].decode("utf-8", "replace") for line in lines]


def _is_ours(source: int) -> bool:
    return os.isatty(source) and hasattr(os, "tcgetpgrp") and os.tcgetpgrp(source) == os.getpgrp()
