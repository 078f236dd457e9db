"""Part files as a store that has compacted everything: what the scripts that ask questions give to a backend."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from aetia.model.stored import PROMOTED, SIGNALS, STORED, Signal
from aetia.model.window import Window
from aetia.store.rolling import Rolled, Roller
from aetia.store.rollups import rollup_of


@dataclass(frozen=True)
class Part:
    path: Path
    rows: int
    start_ns: int
    end_ns: int
    rollup: Path | None = None


@dataclass(frozen=True)
class Held:
    hot: dict[Signal, pa.Table]
    parts: dict[Signal, tuple[Part, ...]]

    def full(self, signal: Signal, rows: Any) -> pa.Table:
        return self.hot[signal].take(pa.array(rows))


@dataclass
class Shelf:
    """Part files as a store that has compacted everything."""

    parts: dict[Signal, list[Part]] = field(default_factory=lambda: {signal: [] for signal in SIGNALS})

    @contextlib.contextmanager
    def reading(self, window: Window | None = None, signals: Sequence[Signal] = SIGNALS) -> Generator[Held]:
        hot = {signal: STORED[signal].empty_table().select(list(PROMOTED[signal])) for signal in signals}
        yield Held(hot, {signal: tuple(self.parts[signal]) for signal in signals})

    def exclude(self, path: Path, problem: str) -> None:
        raise RuntimeError(f"{path}: {problem}")

    def rolled_up(self, folder: Path) -> Shelf:
        """The same with rollups of the spans, which are written beside the parts, in `folder`."""
        done: list[Rolled] = []
        with contextlib.closing(Roller(folder, folder / "spill")) as roller:
            for part in self.parts["spans"]:
                one = Rolled(part.path.stem, part.path, rollup_of(part.path), part.start_ns, part.end_ns)
                near = [other for other in done if other.is_near(part.start_ns, part.end_ns)]
                roller.of_rows(part.path, one.rollup, one.name, near)
                done.append(one)
        rolled = [replace(part, rollup=rollup_of(part.path)) for part in self.parts["spans"]]
        return Shelf({**self.parts, "spans": rolled})
