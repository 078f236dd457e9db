"""Part files as a store that has compacted everything: what the scripts that ask questions give to a backend."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from aetia.model.stored import PROMOTED, SIGNALS, STORED, Signal
from aetia.model.window import Window


@dataclass(frozen=True)
class Part:
    path: Path
    rows: int
    start_ns: int
    end_ns: int


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
