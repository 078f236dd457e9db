"""What a stream has to remember for a while: hashes with a number each, and names with a code each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aetia.model import entity
from aetia.model.entity import Entity
from aetia.signals.frames import I32
from aetia.signals.ids import U64
from aetia.signals.names import ID_PATTERN, MOST_OPERATIONS, OTHER_OPERATIONS
from aetia.signals.rows_by_key import KeyIndex

PARTS = 6
"""Parts that a memory forgets one by one; a key is kept for up to a sixth longer than asked for."""
MOST_KEYS = 1_200_000
"""Five minutes of 4,000 keys a second. A key takes about 28 bytes: itself, its number, and its slots."""


@dataclass(slots=True)
class _Part:
    began_ns: int
    last_ns: int
    value: I32
    index: KeyIndex


class Memory:
    """Keys (hashes; 0 is none) with a small number each, forgotten `keep_ns` after they came, the oldest
    earlier where there are more than `most`. Adding a key twice keeps both; either number may be found."""

    def __init__(self, keep_ns: int, most: int = MOST_KEYS) -> None:
        self._keep_ns, self._most = keep_ns, most
        self._parts: list[_Part] = []

    def __len__(self) -> int:
        return sum(len(part.value) for part in self._parts)

    def add(self, now_ns: int, key: U64, value: I32) -> None:
        """Remember keys (n,) with their numbers (n,)."""
        if len(key):
            last = self._parts[-1] if self._parts else None
            # Parts are small in keys, too: to forget one must not be to forget all.
            room = 0 if last is None else self._most // PARTS - len(last.value)
            if last is not None and now_ns - last.began_ns < self._keep_ns // PARTS and len(key) <= room:
                last.value = np.concatenate([last.value, value])
                last.index, last.last_ns = KeyIndex(np.concatenate([last.index.key, key])), now_ns
            else:
                self._parts.append(_Part(now_ns, now_ns, value, KeyIndex(key)))
        while self._parts and now_ns - self._parts[0].last_ns > self._keep_ns:
            del self._parts[0]
        while len(self._parts) > 1 and len(self) > self._most:
            del self._parts[0]

    def find(self, key: U64, since_ns: int = 0) -> I32:
        """The number of each key (n,), -1 where it is not remembered. With `since_ns` only what came then or later is
        sure to be found, and most of what came before is not looked at."""
        found = np.full(len(key), -1, np.int32)
        asking = np.arange(len(key))
        for part in reversed(self._parts):
            if part.last_ns < since_ns or not len(asking):
                break
            row = part.index.find(key[asking])
            hit = row >= 0
            found[asking[hit]] = part.value[row[hit]]
            asking = asking[~hit]
        return found


class Codes:
    """Texts, or pairs of them, as codes in order of first appearance."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._code: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def code(self, name: str) -> int:
        found = self._code.get(name)
        if found is None:
            found = self._code[name] = len(self.names)
            self.names.append(name)
        return found

    def find(self, name: str) -> int:
        """The code of a name, -1 where it was never seen."""
        return self._code.get(name, -1)

    def table(self, values: list[str | None], missing: str) -> I32:
        """The code of each value and, in the last place, that of -1; what has no text is `missing`."""
        return np.array([self.code(value or missing) for value in values] + [self.code(missing)], np.int32)


class Operations:
    """(service code, span name) as codes. A service has at most MOST_OPERATIONS, as in the analysis of a case: beyond,
    numbers and ids in names become `<*>`, and what is still too many is one operation."""

    def __init__(self, services: Codes) -> None:
        self.services = services
        self.service: list[int] = []
        self.entities: list[Entity] = []
        self._code: dict[tuple[int, str], int] = {}
        self._size: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.entities)

    def codes(self, service: I32, name: I32, values: list[str | None]) -> I32:
        """Operation of each row (n,), from its service and its code into span names (-1: none)."""
        width = len(values) + 1
        pairs, inverse = np.unique(service.astype(np.int64) * width + (name + 1), return_inverse=True)
        texts = (None, *values)
        made = [self.code(int(pair // width), texts[int(pair % width)] or "") for pair in pairs.tolist()]
        return np.array(made, np.int32)[inverse] if made else np.zeros(0, np.int32)

    def code(self, service: int, name: str) -> int:
        """The code of one operation, new where there is room for it."""
        found = self._code.get((service, name))
        if found is not None:
            return found
        if self._size.get(service, 0) >= MOST_OPERATIONS:
            found = self._code.get((service, _without_ids(name)))
            return found if found is not None else self._new(service, OTHER_OPERATIONS)
        if self._size.get(service, 0) >= MOST_OPERATIONS // 2:
            name = _without_ids(name)
        return self._new(service, name)

    def _new(self, service: int, name: str) -> int:
        found = self._code.get((service, name))
        if found is None:
            found = self._code[service, name] = len(self.entities)
            self._size[service] = self._size.get(service, 0) + 1
            self.service.append(service)
            self.entities.append(entity.operation(self.services.names[service], name))
        return found

    def find(self, one: Entity) -> int:
        """The code of an operation, -1 where it was never seen."""
        service = self.services.find(one.service or "")
        return self._code.get((service, one.operation or ""), -1)


def _without_ids(name: str) -> str:
    return str(pc.replace_substring_regex(pa.scalar(name), ID_PATTERN, "<*>").as_py())
