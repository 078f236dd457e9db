"""Half-open time windows in nanoseconds since the Unix epoch (UTC)."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

NS_PER_SECOND = 1_000_000_000


class Window(msgspec.Struct, frozen=True, order=True, array_like=True):
    """`[start_ns, end_ns)`; raises ValueError when it ends before it starts."""

    start_ns: int
    end_ns: int

    def __post_init__(self) -> None:
        if self.end_ns < self.start_ns:
            raise ValueError(f"window ends ({self.end_ns}) before it starts ({self.start_ns})")

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / NS_PER_SECOND

    def contains(self, time_ns: int) -> bool:
        return self.start_ns <= time_ns < self.end_ns

    def overlaps(self, other: Window) -> bool:
        return self.start_ns < other.end_ns and other.start_ns < self.end_ns

    def shifted(self, seconds: float) -> Window:
        delta = round(seconds * NS_PER_SECOND)
        return Window(self.start_ns + delta, self.end_ns + delta)

    def mask(self, times_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Boolean mask, shape (n,), of the times inside the window."""
        return (times_ns >= self.start_ns) & (times_ns < self.end_ns)


def union_mask(windows: tuple[Window, ...], times_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Boolean mask, shape (n,), of the times inside any of the windows."""
    mask = np.zeros(times_ns.shape, dtype=np.bool_)
    for window in windows:
        mask |= window.mask(times_ns)
    return mask
