"""Labels of a simulated case: true causes, the SLIs that users saw, and whether anybody was hurt."""

from __future__ import annotations

import numpy as np

from aetia.lab.sim.faults import OPERATION_FAULTS, Strike
from aetia.lab.sim.scenario import Scenario
from aetia.lab.sim.spans import SpanChunk
from aetia.lab.sim.state import F64, HOLLOW, OK, Bool
from aetia.model.case import Case, Truth
from aetia.model.faults import class_of
from aetia.model.window import Window

MIN_REQUESTS = 20
Z_LIMIT = 4.0
"""One-sided; with three SLIs on at most some dozens of entries a chance hit is rarer than 1 in 300."""


class SliCounter:
    """Collects the entry spans of a run: arrival, duration, failure, entry."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._parts: list[tuple[F64, F64, Bool, np.ndarray]] = []

    def add(self, chunk: SpanChunk) -> None:
        """Keep the entry spans of one chunk."""
        top = np.flatnonzero(chunk.rows.parent < 0)
        rows = chunk.rows
        self._parts.append(
            (
                rows.start_s[top],
                (rows.end_s - rows.start_s)[top] * 1e3,
                chunk.failed[top] | ((rows.code[top] != OK) & (rows.code[top] != HOLLOW)),
                rows.label[top],
            )
        )

    def columns(self) -> tuple[F64, F64, Bool, np.ndarray]:
        """(arrival in s, duration in ms, failed, label), each of shape (requests,)."""
        start, took, failed, label = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        return start, took, failed, label


def _share_z(bad: int, n: int, usual_bad: float, usual_n: int) -> float:
    """Two-proportion z statistic, positive when the share of bad requests rose."""
    pooled = (bad + usual_bad) / (n + usual_n)
    spread = np.sqrt(max(pooled * (1 - pooled), 1e-9) * (1 / n + 1 / usual_n))
    return float((bad / n - usual_bad / usual_n) / spread)


def entry_sli(before: tuple[F64, Bool], after: tuple[F64, Bool], seconds: tuple[float, float]) -> dict[str, object]:
    """What users of one entry saw: shares, latencies in ms, rates per second, and the SLIs that broke.

    Success breaks when failures rise by 1 % of the requests or more, latency when 8 % more of the requests than
    before are slower than the usual P90 or 2.5 % more are slower than the usual P99, throughput when less than
    65 % of the requests arrive; all three have to be significant (z > 4).
    """
    (took0, failed0), (took1, failed1) = before, after
    n0, n1 = len(took0), len(took1)
    out: dict[str, object] = {
        "requests": [n0, n1], "rate": [round(n0 / seconds[0], 3), round(n1 / seconds[1], 3)],
        "errors": [round(float(failed0.mean()), 5) if n0 else None, round(float(failed1.mean()), 5) if n1 else None],
    }  # fmt: skip
    broke: list[str] = []
    expected = n0 / seconds[0] * seconds[1]
    if expected >= MIN_REQUESTS and n1 < 0.65 * expected and (expected - n1) / np.sqrt(expected) > Z_LIMIT:
        broke.append("throughput")
    if n0 >= MIN_REQUESTS and n1 >= MIN_REQUESTS:
        bad0, bad1 = int(failed0.sum()), int(failed1.sum())
        if bad1 / n1 - bad0 / n0 > 0.01 and _share_z(bad1, n1, bad0, n0) > Z_LIMIT:
            broke.append("success")
        for quantile, margin in ((0.9, 0.08), (0.99, 0.025)):
            limit = float(np.quantile(took0, quantile)) * 1.05
            slow0, slow1 = int((took0 > limit).sum()), int((took1 > limit).sum())
            if slow1 / n1 - slow0 / n0 > margin and _share_z(slow1, n1, slow0, n0) > Z_LIMIT and "latency" not in broke:
                broke.append("latency")
        for name, quantile in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            out[name] = [round(float(np.quantile(took, quantile)), 3) for took in (took0, took1)]
    out["broke"] = broke
    return out


def _slis(scenario: Scenario, strikes: list[Strike], counter: SliCounter) -> dict[str, dict[str, object]]:
    """SLIs per entry operation, from the onset of the first fault on (or the whole incident window)."""
    start, took, failed, label = counter.columns()
    since = min([strike.start for strike in strikes] or [scenario.baseline_s])
    until = min(max([strike.end for strike in strikes] or [scenario.total_s]), scenario.total_s)
    before, after = start < scenario.baseline_s, (start >= since) & (start < until)
    system = scenario.system
    order = np.unique(label)
    names = {
        int(k): system.operations[system.entries[i]].name for i, k in enumerate(_entry_labels(scenario)) if k in order
    }
    found: dict[str, dict[str, object]] = {}
    for code, name in names.items():
        mine = label == code
        one, two = mine & before, mine & after
        found[name] = entry_sli(
            (took[one], failed[one]), (took[two], failed[two]), (scenario.baseline_s, max(until - since, 1.0))
        )
    return found


def _entry_labels(scenario: Scenario) -> list[int]:
    from aetia.lab.sim.engine import Labels

    labels = Labels(scenario.system)
    return [labels.server[operation] for operation in scenario.system.entries]


def truth_of(strike: Strike, scenario: Scenario) -> Truth:
    """The label of one fault."""
    system, fault = scenario.system, strike.spec.fault
    one = (
        len(strike.instances) == 1
        and strike.service >= 0
        and not (strike.whole and len(system.services[strike.service].instances) > 1)
    )
    edge = (system.services[strike.edge[0]].name, system.services[strike.edge[1]].name) if strike.edge else None
    name = system.externals[strike.external].name if strike.external >= 0 else None
    if strike.service >= 0:
        name = system.services[strike.service].name
    return Truth(
        service=name, instance=system.instances[strike.instances[0]] if one and not strike.edge else None,
        node=system.nodes[strike.node] if strike.node >= 0 else None, edge=edge,
        operation=system.operations[strike.operation].name if fault in OPERATION_FAULTS else None,
        fault_class=class_of(fault), fault=fault, onset_ns=scenario.start_ns + round(strike.start * 1e9),
    )  # fmt: skip


def make_case(scenario: Scenario, strikes: list[Strike], counter: SliCounter) -> Case:
    """The case of a run: windows, truth, SLIs per entry and, for faults that nobody felt, the label `absorbed`."""
    slis = _slis(scenario, strikes, counter)
    hurt = sorted(name for name, sli in slis.items() if sli["broke"])
    first, middle = scenario.start_ns, scenario.start_ns + round(scenario.baseline_s * 1e9)
    label = scenario.label if not strikes else (None if hurt else "absorbed")
    return Case(
        id=scenario.id, system=scenario.system.name, baseline=Window(first, middle),
        incident=Window(middle, first + round(scenario.total_s * 1e9)) if scenario.windows_given else None,
        truth=tuple(truth_of(strike, scenario) for strike in strikes), sli={"affected": hurt, "entries": slis},
        label="no_fault" if label == "none" else label, license="Apache-2.0", source="simulated",
    )  # fmt: skip
