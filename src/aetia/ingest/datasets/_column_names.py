"""Splits column names `<entity>_<metric>` of a wide table without a list of entities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable


def split_columns(columns: Iterable[str]) -> dict[str, tuple[str | None, str]]:
    """(entity, metric) of every column; the entity is None where the name holds no `_`.

    Both parts may hold `_` themselves. Every place of a `_` is a possible split; the one is taken whose
    entity comes with many metrics *and* whose metric comes with many entities (largest harmonic mean of both
    counts), the longest entity on a tie. The result does not depend on the order of the columns.
    """
    names = list(dict.fromkeys(columns))
    splits = {name: _splits(name) for name in names}
    metrics: defaultdict[str, set[str]] = defaultdict(set)
    entities: defaultdict[str, set[str]] = defaultdict(set)
    for pairs in splits.values():
        for entity, metric in pairs:
            metrics[entity].add(metric)
            entities[metric].add(entity)

    def support(pair: tuple[str, str]) -> tuple[float, int]:
        with_entity, with_metric = len(metrics[pair[0]]), len(entities[pair[1]])
        return with_entity * with_metric / (with_entity + with_metric), len(pair[0])

    return {name: max(pairs, key=support) if pairs else (None, name) for name, pairs in splits.items()}


def _splits(name: str) -> list[tuple[str, str]]:
    places = [index for index, sign in enumerate(name) if sign == "_" and 0 < index < len(name) - 1]
    return [(name[:index], name[index + 1 :]) for index in places]
