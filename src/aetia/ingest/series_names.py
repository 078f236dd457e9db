"""Names of metric series taken apart: which part of a column name is the service and which the metric."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

SEPARATORS = "_:./|"
_LABELS = re.compile(r"^(?P<name>[^{]*)\{(?P<labels>.*)\}\s*$", re.DOTALL)
_LABEL = re.compile(r"""\s*([^=,{}"'\s]+)\s*=~?\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^,}]*))\s*,?""")
_WORDS = re.compile(r"[A-Za-z]+[0-9]*|[0-9]+")
# Words that metrics are made of in any system; they only decide which side of a split is the metric.
_METRIC_TEXT = """
cpu mem memory disk net network fs io rx tx read reads write writes bytes packets latency duration response time rt
rtt seconds ms rate ratio count total error errors err fail failed failures success succ request requests req qps rps
tps throughput workload load usage used utilization util percent limit quota free idle active busy heap gc threads
thread connections conns pool queue lag depth p50 p75 p90 p95 p99 p999 avg mean max min sum socket sockets restarts
restart up availability saturation throttled throttling open files receive received transmit transmitted sent drop
dropped latency50 latency90 latency95 latency99 rss cache swap inodes hits misses status code size loss delay jitter
"""
_METRIC_WORDS = frozenset(_METRIC_TEXT.split())


class SeriesName(NamedTuple):
    """One column name: its metric, the service if one could be told, and labels if it has any."""

    metric: str
    service: str | None
    labels: dict[str, str]


def parse_labels(name: str) -> tuple[str, dict[str, str]]:
    """`requests{service="a",pod="b"}` as its name and labels; the name alone when it has no braces."""
    match = _LABELS.match(name.strip())
    if match is None:
        return name.strip(), {}
    labels: dict[str, str] = {}
    for key, double, single, bare in _LABEL.findall(match["labels"]):
        labels[key] = re.sub(r"\\(.)", r"\1", double or single) if double or single else bare.strip()
    return match["name"].strip(), labels


def split_series(columns: Iterable[str]) -> dict[str, SeriesName]:
    """Every column name taken apart.

    Each place of a separator is a possible split. The one is taken that is most consistent with the other
    columns: its service comes with many metrics and its metric with many services (largest harmonic mean of both
    counts). Whether the service stands first or last is one decision for the whole table, by the side on which
    the words of metrics stand. A name that shares neither part with another column is a metric without a service.
    The result does not depend on the order of the columns.
    """
    parsed = {column: parse_labels(column) for column in dict.fromkeys(columns)}
    bare = sorted({name for name, labels in parsed.values() if not labels})
    splits = _best_splits(bare)
    out: dict[str, SeriesName] = {}
    for column, (name, labels) in parsed.items():
        if labels:
            out[column] = SeriesName(name or column, None, labels)
        else:
            service, metric = splits.get(name, (None, name))
            out[column] = SeriesName(metric, service, {})
    return out


def _best_splits(names: list[str]) -> dict[str, tuple[str | None, str]]:
    """(service, metric) per name, with the service in front or behind as fits the whole table better."""
    front = _oriented(names, service_first=True)
    behind = _oriented(names, service_first=False)
    return behind if _fitness(behind) > _fitness(front) else front


def _fitness(splits: dict[str, tuple[str | None, str]]) -> tuple[int, int]:
    """Metric words in metrics less those in services; then how many names could be split."""
    found = [(service, metric) for service, metric in splits.values() if service is not None]
    return sum(_metric_words(metric) - _metric_words(service) for service, metric in found), len(found)


def _oriented(names: list[str], *, service_first: bool) -> dict[str, tuple[str | None, str]]:
    options = {name: _options(name, service_first) for name in names}
    metrics: defaultdict[str, set[str]] = defaultdict(set)
    services: defaultdict[str, set[str]] = defaultdict(set)
    for pairs in options.values():
        for service, metric in pairs:
            metrics[service].add(metric)
            services[metric].add(service)

    def support(pair: tuple[str, str]) -> tuple[float, int, int]:
        with_service, with_metric = len(metrics[pair[0]]), len(services[pair[1]])
        mean = with_service * with_metric / (with_service + with_metric)
        return round(mean, 9), _metric_words(pair[1]) - _metric_words(pair[0]), len(pair[0])

    out: dict[str, tuple[str | None, str]] = {}
    for name, pairs in options.items():
        best = max(pairs, key=support, default=None)
        # 0.5 is one service with one metric: no other column speaks for the split.
        out[name] = best if best is not None and support(best)[0] > 0.5 else (None, name)
    return out


def _options(name: str, service_first: bool) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for index in range(1, len(name) - 1):
        if name[index] in SEPARATORS:
            front, back = name[:index].strip(SEPARATORS + " "), name[index + 1 :].strip(SEPARATORS + " ")
            service, metric = (front, back) if service_first else (back, front)
            if service and metric and not _is_metric(service):
                pairs.append((service, metric))
    return pairs


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(re.sub(r"([a-z])([A-Z])", r"\1 \2", name))]


def _metric_words(name: str) -> int:
    return sum(word in _METRIC_WORDS for word in _words(name))


def _is_metric(name: str) -> bool:
    words = _words(name)
    return bool(words) and all(word in _METRIC_WORDS for word in words)
