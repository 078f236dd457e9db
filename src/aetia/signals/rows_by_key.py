"""Rows found again by a 64-bit hash: tables of slots that are filled and asked by whole columns at a time.

Sorting a million hashes to search in them takes 80 ms, and as much for the ones that are asked for. Slots take 20 ms
to fill and 30 ms to ask, because a row that lost its slot to another simply moves on to a next, smaller table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aetia.signals.frames import I32
from aetia.signals.ids import U64

_BITS = 64
_STEP = 17
"""By how many bits the part of the hash that names the slot moves from table to table."""


class KeyIndex:
    """Rows (n,) by their key; a key of 0 stands for "none" and is never found.

    `repeated` tells whether any key occurs twice; such a key is found in one of its rows.
    """

    def __init__(self, key: U64) -> None:
        self.key = key
        self.repeated = False
        self._tables: list[tuple[I32, int]] = []
        rows = np.flatnonzero(key)
        shift = 0
        while len(rows):
            table = np.full(1 << (2 * len(rows) - 1).bit_length(), -1, np.int32)
            slot = _slots(key[rows], table, shift)
            table[slot] = rows
            winner = table[slot]
            lost = np.flatnonzero(winner != rows)
            # Equal keys meet in one slot in every table, so none goes unnoticed.
            twice = key[winner[lost]] == key[rows[lost]]
            self.repeated = self.repeated or bool(twice.any())
            self._tables.append((table, shift))
            rows = rows[lost[~twice]]
            shift = (shift + _STEP) % _BITS

    def find(self, wanted: U64) -> I32:
        """Row of each wanted key, shape (k,), -1 where absent."""
        if not self._tables:
            return np.full(len(wanted), -1, np.int32)
        found = self._ask(wanted, *self._tables[0])
        asking = np.flatnonzero(found < -1)
        for table, shift in self._tables[1:]:
            found[asking] = self._ask(wanted[asking], table, shift)
            asking = asking[found[asking] < -1]
        found[asking] = -1
        return found

    def _ask(self, wanted: U64, table: I32, shift: int) -> I32:
        """Row of each key in one table, -1 where its slot is empty, -2 where another key has it."""
        row = table[_slots(wanted, table, shift)]
        return np.where((row < 0) | (self.key[row] == wanted), row, np.int32(-2))


def _slots(key: U64, table: I32, shift: int) -> NDArray[np.int64]:
    """Place of each key in a table whose length is a power of two; the bits of the hash are used in a circle."""
    turned: Any = key if shift == 0 else (key >> np.uint64(shift)) | (key << np.uint64(_BITS - shift))
    return (turned & np.uint64(len(table) - 1)).astype(np.int64)
