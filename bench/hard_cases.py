"""What the `rules` policy adds to the statistical prior, where a prior has reason to err.

    python bench/hard_cases.py [SUITE ...] [--cases 21] [--seeds 3101 3102] [--policy rules] [--json FILE]

Per suite and kind of hard case: AC@1 of the prior and of the policy, cases won and lost, the share of correct roots
whose path to a broken entry is correct, and the seconds that the policy adds. Abstentions count as misses of both. A
path is correct when it leads unbroken from the root to an entry whose SLI broke, and every hop is a call made by a
request that failed or was slow in the incident (by the whole telemetry, before anything was hidden), or a node and what
runs on it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from _hard_draw import Hard, hard_cases
from aetia import api, plugins
from aetia.bench.intervals import mcnemar
from aetia.bench.scoring import name_of
from aetia.ingest.reader import Loaded, Reader
from aetia.ingest.source import list_cases
from aetia.model.case import Case
from aetia.model.diagnosis import Diagnosis
from aetia.model.tables import Telemetry
from aetia.model.window import union_mask
from aetia.reason.policy import Policy
from aetia.reason.run import run
from aetia.reason.toolbox import ViewTools
from aetia.signals.view import Facts


class Row(NamedTuple):
    """One case: was each right at its first name, was the path right (None: no correct root), what was added."""

    kind: str
    case: str
    prior: float
    policy: float
    path: bool | None
    prior_path: bool | None
    hops: int
    seconds: float
    confidence: float
    named: str


def suites(names: Iterable[str]) -> Iterator[Hard]:
    """Cases of recorded suites as they are; what has no windows or truth is left out."""
    for name in names:
        reader, path, cases = list_cases(name)
        source = cast("Reader", plugins.create("reader", reader))
        for case in cases:
            if case.truth and case.incident is not None:
                loaded = source.load(path, case.id)
                yield Hard(kind=Path(name).name, case=loaded.case, telemetry=loaded.telemetry, whole=loaded.telemetry)


def measure(hard: Hard, policy: str) -> Row:
    """Prior and policy on one case."""
    found = api.investigate(Loaded(case=hard.case, telemetry=hard.telemetry))
    prior, view = found.diagnosis, found.view
    after, seconds = prior, 0.0
    if view is not None and prior.abstained is None:
        began = time.perf_counter()
        after = run(prior, cast("Policy", plugins.create("policy", policy)), ViewTools(view), name=policy)
        seconds = time.perf_counter() - began
    truth = {root.service or root.node or "" for root in hard.case.truth or ()}
    first, then = _first(prior), _first(after)
    right, calls = then in truth, None
    if right or first in truth:
        calls = _calls(hard.whole, hard.case)
    return Row(
        kind=hard.kind, case=hard.case.id, prior=(first in truth) / len(truth), policy=right / len(truth),
        path=correct_path(after, calls) if right and calls is not None else None,
        prior_path=correct_path(prior, calls) if first in truth and calls is not None else None,
        hops=len(after.propagation), seconds=seconds, named=then or "",
        confidence=after.hypotheses[0].probability or 0.0 if after.hypotheses else 0.0,
    )  # fmt: skip


def _first(diagnosis: Diagnosis) -> str | None:
    return name_of(diagnosis.hypotheses[0].entity) if diagnosis.hypotheses else None


def _calls(whole: Telemetry, case: Case) -> set[tuple[str, str]]:
    """(callee, caller) pairs of requests that were hurt, all known ones where no spans are, and what runs on which
    node."""
    facts = Facts(whole)
    names, spans, graph = facts.names, facts.spans, facts.topology
    both = (graph.instance_service >= 0) & (graph.instance_node >= 0)
    hosts = zip(graph.instance_node[both].tolist(), graph.instance_service[both].tolist(), strict=True)
    hosted = {(names.nodes[node], names.services[service]) for node, service in hosts}
    if not len(spans) or case.incident is None:
        edges = zip(graph.callee.tolist(), graph.caller.tolist(), strict=True)
        return hosted | {(names.services[callee], names.services[caller]) for callee, caller in edges}
    within = np.isin(spans.root, _hurt(facts, case)) & (spans.service >= 0)
    below = np.flatnonzero(within & (spans.parent >= 0))
    remote = np.flatnonzero(within & (spans.peer >= 0))
    pairs = np.concatenate([
        np.stack([spans.service[below], spans.service[spans.parent[below]]], axis=1),
        np.stack([spans.peer[remote], spans.service[remote]], axis=1),
    ])  # fmt: skip
    found = np.unique(pairs, axis=0).tolist()
    return hosted | {(names.services[b], names.services[a]) for b, a in found if min(a, b) >= 0 and a != b}


def _hurt(facts: Facts, case: Case) -> np.ndarray:
    """Rows of the requests from outside that failed in the incident, or took longer than 95 % of them did before."""
    spans = facts.spans
    tops = np.flatnonzero(spans.parent < 0)
    during = np.zeros(len(spans), np.bool_) if case.incident is None else case.incident.mask(spans.start_ns)
    before = union_mask(case.baseline_windows("spans"), spans.start_ns)
    bad = spans.error[tops]
    for operation in np.unique(spans.operation[tops]).tolist():
        mine = spans.operation[tops] == operation
        usual = spans.duration_ns[tops[mine & before[tops]]]
        if len(usual):
            bad |= mine & (spans.duration_ns[tops] > np.quantile(usual, 0.95))
    return tops[bad & during[tops]]


def correct_path(diagnosis: Diagnosis, calls: set[tuple[str, str]]) -> bool | None:
    """Whether the hops lead unbroken from the first root to a broken entry along calls that were made; None where no
    SLI broke, so that there is nowhere to lead to."""
    incident = diagnosis.incident
    entries = {breach.entry.service for breach in incident.breaches} if incident is not None else set[str | None]()
    if not entries:
        return None
    first = diagnosis.hypotheses[0].entity if diagnosis.hypotheses else None
    roots = {_first(diagnosis), *((first.caller, first.callee) if first is not None else ())}
    hops = [(hop.source.removeprefix("node "), hop.target) for hop in diagnosis.propagation]
    if not hops:
        return not roots.isdisjoint(entries)
    joined = hops[0][0] in roots and all(a[1] == b[0] for a, b in itertools.pairwise(hops))
    ends = hops[-1][1] in entries
    return joined and ends and all(hop in calls for hop in hops)


def summary(rows: list[Row]) -> list[str]:
    """A line per kind and one for all: n, AC@1 before and after, won and lost, paths, seconds."""
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kinds[row.kind].append(row)
    head = ("n", "prior", "policy", "won", "lost", "path", "before", "p50 s")
    lines = [f"{'kind':<16}" + "".join(f"{word:>8}" for word in head)]
    for kind, some in [*sorted(kinds.items()), ("all", rows)]:
        won = sum(row.policy > row.prior for row in some)
        lost = sum(row.policy < row.prior for row in some)
        shares = [f"{np.mean([row.prior for row in some]):.3f}", f"{np.mean([row.policy for row in some]):.3f}"]
        paths = [_share([row.path for row in some]), _share([row.prior_path for row in some])]
        cells = [len(some), *shares, won, lost, *paths, f"{np.median([row.seconds for row in some]):.2f}"]
        lines.append(f"{kind:<16}" + "".join(f"{cell:>8}" for cell in cells))
    won, lost = sum(r.policy > r.prior for r in rows), sum(r.policy < r.prior for r in rows)
    gain = np.array([row.policy - row.prior for row in rows])
    drawn = np.random.default_rng(0).choice(gain, (2000, len(gain))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    lines.append(f"paired difference {gain.mean():+.3f} [{low:+.3f}, {high:+.3f}], McNemar p {mcnemar(won, lost):.2g}")
    return lines


def _share(values: list[bool | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.2f}" if known else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*")
    parser.add_argument("--cases", type=int, default=21, help="cases of each kind and seed")
    parser.add_argument("--seeds", type=int, nargs="*", default=[3101])
    parser.add_argument("--policy", default="rules")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    drawn = itertools.chain.from_iterable(hard_cases(options.cases, seed) for seed in options.seeds)
    rows: list[Row] = []
    for hard in itertools.chain(suites(options.suites), drawn):
        rows.append(measure(hard, options.policy))
        if rows[-1].policy != rows[-1].prior:
            print(f"{rows[-1].kind} {rows[-1].case}: {rows[-1].prior:g} → {rows[-1].policy:g}", file=sys.stderr)
    print("\n".join(summary(rows)))
    if options.json is not None:
        options.json.write_text(json.dumps([row._asdict() for row in rows], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
