"""Live detection measured on simulated systems: how soon an incident opens, what is missed, what opens without harm.

    python bench/live_detection.py --faults 60 --hours 12 --seed 11

Telemetry of the simulator arrives as exporters send it: batches every 5 s per instance, each at its own phase, with a
network that jitters and now and then holds a batch back, and with clocks that are off by up to 2 s. The stream runs in
virtual time through `LiveSli` and `IncidentBook`.

Faults: one each, struck after 7 minutes for 3 minutes, with 5 minutes of recovery. The delay counts from the end of the
first broken request of the change point in the affected entry points' requests (what users felt, not when the fault
struck) to the time of the tick that opened the incident. Faults that users did not feel (by the simulator's own
account) are listed as absorbed. Healthy hours: night and day within hours, ramps, surges of three times the load,
deploys, backups and noise; anything that opens is false.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from aetia.detect._scan import sharpened
from aetia.detect.live import LiveSli
from aetia.detect.sli import SliDetector
from aetia.lab.sim import FAULTS, Confounder, Load, Scenario, System, make_system
from aetia.lab.sim.confounders import apply_confounder, everyday_trouble
from aetia.lab.sim.draw import draw_fault, spans_per_request
from aetia.lab.sim.engine import Labels
from aetia.lab.sim.faults import apply_fault
from aetia.lab.sim.load import arrival_rates, capacity, fill_queues
from aetia.lab.sim.run import Plan, chunks
from aetia.lab.sim.state import State
from aetia.lab.sim.truth import SliCounter, make_case
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.serve.incidents import IncidentBook, IncidentRecord
from aetia.signals.view import Facts

SECOND = 1_000_000_000
TICK_S, BATCH_S = 5, 5.0
QUIET_S, FAULT_S, AFTER_S = 420.0, 180.0, 300.0
MOST_SPANS_PER_S = 900.0
START_NS = 1_790_000_000_000_000_000


@dataclass(slots=True)
class Outcome:
    """What one stream led to."""

    name: str
    opened: list[IncidentRecord] = field(default_factory=list)
    tick_s: list[float] = field(default_factory=list)
    requests: int = 0
    seconds: float = 0.0


def planned(scenario: Scenario, shape: np.ndarray) -> Plan:
    """As `aetia.lab.sim.run.plan`, with the load multiplied by `shape` (seconds,)."""
    system = scenario.system
    rng = np.random.default_rng([scenario.seed, 1])
    rate = arrival_rates(scenario, rng)
    rate = rate * shape[None, : rate.shape[1]]
    state = State(system, rate.shape[1], rate)
    everyday_trouble(state, scenario.everyday, np.random.default_rng([system.seed, 9]))
    strikes = [apply_fault(fault, state, rng) for fault in scenario.faults]
    for confounder in scenario.confounders:
        apply_confounder(confounder, state, rng)
    utilisation = fill_queues(state, scenario.load.rate)
    calls = np.array([1.0 + sum(call.probability for call in op.calls) for op in system.operations])
    spans_per_s = float(rate.mean(1) @ system.visits() @ calls)
    return Plan(
        scenario, state, Labels(system), strikes, capacity(system, scenario.load.rate), utilisation, spans_per_s
    )


def arriving(table: pa.Table, rng: np.random.Generator, phases: dict[str, tuple[float, float]]) -> pa.Table:
    """The spans in order of arrival (column `arrival`), their times by the clock of their sender."""
    instance = table["instance"].combine_chunks()
    instance = instance.chunk(0) if isinstance(instance, pa.ChunkedArray) else instance
    names = instance.dictionary.to_pylist()
    for name in names:
        phases.setdefault(name, (float(rng.uniform(0, BATCH_S)), float(rng.uniform(-2, 2))))
    code = np.asarray(instance.indices.to_numpy(zero_copy_only=False))
    phase, skew = (np.array([phases[name][i] for name in names])[code] for i in (0, 1))
    begin = np.asarray(table["time"].cast(pa.int64()).to_numpy())
    end = begin + np.asarray(table["duration_ns"].to_numpy())
    batch = np.ceil((end / SECOND - phase) / BATCH_S)
    # One delay per batch: a network of 50 ms to a second, and one batch in 100 is held back for up to 20 s.
    mixed = np.abs(np.sin(batch * 12.9898 + code * 78.233) * 43758.5453) % 1.0
    held = np.where(mixed > 0.99, (mixed - 0.99) * 2000.0, 0.0)
    arrival = ((batch * BATCH_S + phase + 0.05 + mixed**3 + held) * SECOND).astype(np.int64)
    shifted = pa.array(begin + (skew * SECOND).astype(np.int64)).cast(table.schema.field("time").type)
    table = table.set_column(table.schema.get_field_index("time"), "time", shifted)
    order = np.argsort(arrival, kind="stable")
    return table.append_column("arrival", pa.array(arrival)).take(pa.array(order))


def stream(plan: Plan, counter: SliCounter) -> Iterator[tuple[int, pa.Table]]:
    """(time of the tick, what arrived since the last)."""
    rng = np.random.default_rng([plan.scenario.seed, 5])
    phases: dict[str, tuple[float, float]] = {}
    parts: list[pa.Table] = []
    now = plan.scenario.start_ns + TICK_S * SECOND
    for chunk in chunks(plan):
        counter.add(chunk)
        parts.append(arriving(chunk.table, rng, phases))
        # What begins in the next chunk cannot arrive before the last start of this one.
        sure = int(chunk.table["time"][-1].value)
        while now <= sure:
            yield now, cut(parts, now)
            now += TICK_S * SECOND
    end = plan.scenario.start_ns + round(plan.scenario.total_s * SECOND)
    while now <= end:
        yield now, cut(parts, now)
        now += TICK_S * SECOND


def cut(parts: list[pa.Table], now: int) -> pa.Table:
    """Take what arrived by a time out of the parts."""
    out: list[pa.Table] = []
    for at, part in enumerate(parts):
        n = int(np.searchsorted(part["arrival"].to_numpy(), now))
        out.append(part.slice(0, n).drop_columns(["arrival"]))
        parts[at] = part.slice(n)
    parts[:] = [part for part in parts if part.num_rows] or parts[-1:]
    return pa.concat_tables(out)


def watch(name: str, plan: Plan, counter: SliCounter, verbose: bool) -> Outcome:
    """Run a stream through detection and the book."""
    live, out = LiveSli(), Outcome(name)
    with tempfile.TemporaryDirectory() as folder:
        book = IncidentBook(Path(folder))
        if verbose:
            book.subscribe(
                lambda e: print("   ", (e.at_ns - plan.scenario.start_ns) // SECOND, e.what, told(e.record, plan))
            )
        for now, table in stream(plan, counter):
            if table.num_rows:
                live.add(table)
            began = time.process_time()
            candidates = live.tick(now)
            out.tick_s.append(time.process_time() - began)
            book.observe(candidates, now)
        out.opened = sorted(book.all(), key=lambda r: r.opened_ns)
    out.requests, out.seconds = live.stats().requests, plan.scenario.total_s
    return out


def told(record: IncidentRecord, plan: Plan) -> str:
    broken = [
        f"{b.entry.name}:{b.sli}:{b.statistic} {b.baseline:.3g}->{b.incident:.3g} "
        f"({b.affected}/{b.requests}) p={b.p_value:.1g}"
        for b in record.breaches
    ]
    onset = (record.onset_ns - plan.scenario.start_ns) / SECOND
    ended = "" if record.ended_ns is None else f" ended {(record.ended_ns - plan.scenario.start_ns) / SECOND:.1f}"
    return f"{record.severity} onset {onset:.1f}{ended} {'; '.join(broken)}"


# --- faults -----------------------------------------------------------------------------------------------


def first_broken_s(plan: Plan, counter: SliCounter, affected: dict[str, list[str]]) -> float:
    """Seconds at which the first broken request of the affected entry points ended: the change point of bad requests in
    order of their end."""
    start, took, failed, label = counter.columns()
    strike, until = min(s.start for s in plan.strikes), QUIET_S + FAULT_S
    found: list[float] = []
    names = plan.labels
    for operation in plan.scenario.system.entries:
        broke = affected.get(plan.scenario.system.operations[operation].name, [])
        mine = label == names.server[operation]
        begun, lasted, bad = start[mine], took[mine], failed[mine]
        before, after = begun < QUIET_S, (begun >= strike - 0.001 * 2000) & (begun < until)
        for sli in broke:
            if sli == "throughput":
                found.append(strike)
                continue
            if sli == "latency":
                bad = (lasted > np.quantile(lasted[before], 0.95) * 1.2) & ~failed[mine]
            else:
                bad = failed[mine]
            end = (begun + lasted / 1e3)[after]
            order = np.argsort(end)
            hurt = bad[after][order].astype(np.float64)
            if hurt.any():
                first, _ = sharpened(hurt, float(bad[before].mean()))
                found.append(float(end[order][first]))
    return max(min(found), strike) if found else float("nan")


def fault_case(kind: str, number: int, seed: int) -> tuple[Plan, SliCounter]:
    rng = np.random.default_rng([seed, number, 31])
    system = make_system(int(rng.integers(6, 40)), int(rng.integers(1 << 30)))
    per_request = spans_per_request(system)
    rate = min(float(np.exp(rng.uniform(np.log(15), np.log(150)))), MOST_SPANS_PER_S / per_request)
    fault = draw_fault(kind, system, rng, rate=rate, onset_s=QUIET_S + float(rng.uniform(0, 5)), strength=1.3)
    load = Load(rate=rate, swing=float(rng.uniform(0.05, 0.2)), noise=float(rng.uniform(0.02, 0.1)))
    scenario = Scenario(
        id=f"{kind}-{number}", system=system, seed=int(rng.integers(1 << 30)), load=load,
        faults=(replace(fault, duration_s=FAULT_S),), baseline_s=QUIET_S, incident_s=FAULT_S + AFTER_S,
        start_ns=START_NS + number * 3600 * SECOND,
    )  # fmt: skip
    return planned(scenario, np.ones(int(scenario.total_s) + 1)), SliCounter(scenario)


@dataclass(slots=True)
class Tally:
    delays: list[float] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    closed: int = 0
    again: int = 0
    onset_off: list[float] = field(default_factory=list)
    end_off: list[float] = field(default_factory=list)
    absorbed: int = 0
    unseen: int = 0
    ticks: list[float] = field(default_factory=list)
    healthy_s: float = 0.0


def judge_fault(plan: Plan, counter: SliCounter, out: Outcome, tally: Tally) -> str:
    case = make_case(plan.scenario, plan.strikes, counter)
    entries = case.sli["entries"]
    assert isinstance(entries, dict)
    affected = {name: list(entries[name]["broke"]) for name in case.sli["affected"]}  # type: ignore[union-attr]
    base, tally.ticks = plan.scenario.start_ns, tally.ticks + out.tick_s
    strike = min(s.start for s in plan.strikes)
    early = [r for r in out.opened if r.opened_ns < base + strike * SECOND]
    tally.false += [f"{out.name}: {told(r, plan)}" for r in early]
    later = [r for r in out.opened if r not in early]
    tally.healthy_s += strike
    if not affected:
        tally.absorbed += 1
        return f"{out.name:24s} absorbed, {len(later)} opened"
    broken = first_broken_s(plan, counter, affected)
    own = [r for r in later if r.opened_ns <= base + (QUIET_S + FAULT_S + 90) * SECOND]
    shown = " ".join(f"{name.split()[-1]}:{'/'.join(broke)}" for name, broke in affected.items())[:60]
    if not own:
        seen = hindsight(plan)
        tally.missed.append(f"{out.name} ({shown}); the detector of whole incidents {'finds' if seen else 'misses'} it")
        tally.unseen += not seen
        return f"{out.name:24s} MISSED broken at {broken:.1f} {shown}, {'seen' if seen else 'not seen'} in hindsight"
    first = own[0]
    delay = (first.opened_ns - base) / SECOND - broken
    tally.delays.append(delay)
    tally.closed += sum(r.state != "open" for r in own)
    tally.again += len([r for r in later if r.state != "merged"]) - 1
    tally.onset_off.append((first.onset_ns - base) / SECOND - broken)
    if first.ended_ns:
        tally.end_off.append((first.ended_ns - base) / SECOND - QUIET_S - FAULT_S)
    found = f"{len(later)} incidents, {first.state}, {shown}"
    return f"{out.name:24s} delay {delay:5.1f} s onset {tally.onset_off[-1]:+6.1f} s, {found}"


def hindsight(plan: Plan) -> bool:
    """Whether the detector of whole incidents finds the fault in all of the telemetry."""
    telemetry = Telemetry(spans=pa.concat_tables([chunk.table for chunk in chunks(plan)]))
    base = plan.scenario.start_ns
    found = SliDetector().detect(Facts(telemetry), baseline=Window(base, base + round(QUIET_S * SECOND)))
    return any(item.onset_ns < base + (QUIET_S + FAULT_S) * SECOND for item in found)


# --- health -----------------------------------------------------------------------------------------------


def load_changes(seconds: int, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Multiplier of the load per second: night and day, ramps, and surges up to three times."""
    at = np.arange(seconds + 1, dtype=np.float64)
    period = float(rng.uniform(3600, 3 * 3600))
    depth = float(rng.uniform(0.2, 0.6))
    shape = 1.0 - depth * 0.5 * (1 + np.cos(2 * np.pi * at / period + float(rng.uniform(0, 6.28))))
    said = [f"day of {period / 3600:.1f} h down to {1 - depth:.2f}"]
    when = float(rng.uniform(600, 1500))
    while when < seconds - 300:
        kind, length = rng.choice(["surge", "ramp", "spike"]), float(rng.uniform(180, 1200))
        factor = float(rng.uniform(1.5, 3.0))
        edge = {"surge": 15.0, "ramp": length / 2, "spike": 5.0}[str(kind)]
        length = 90.0 if kind == "spike" else length
        bump = np.clip((at - when) / edge, 0, 1) * np.clip((when + length - at) / edge, 0, 1)
        shape = shape * (1 + (factor - 1) * bump)
        said.append(f"{kind} x{factor:.1f} at {when:.0f} for {length:.0f}")
        when += length + float(rng.uniform(600, 1800))
    return shape, said


def calm(system: System, most: float) -> System:
    """The system with room for `most` times its usual load."""
    room = 0.6 / most
    return replace(system, services=tuple(replace(s, utilisation=min(s.utilisation, room)) for s in system.services))


def healthy_case(number: int, hours: float, seed: int) -> tuple[Plan, SliCounter, list[str]]:
    rng = np.random.default_rng([seed, number, 37])
    seconds = round(hours * 3600)
    system = calm(make_system(int(rng.integers(5, 25)), int(rng.integers(1 << 30))), 3.6)
    shape, said = load_changes(seconds, rng)
    rate = min(float(np.exp(rng.uniform(np.log(8), np.log(60)))), 500.0 / spans_per_request(system))
    confounders: list[Confounder] = []
    for start in np.arange(300.0, seconds, 900.0):
        kind = str(rng.choice(["deploy", "config", "cpu_bump", "backup", "log_noise", "memory_bump"]))
        size = {"backup": rng.uniform(0.15, 0.4), "cpu_bump": rng.uniform(0.1, 0.25)}.get(kind, 0.3)
        places = {"backup": len(system.nodes), "deploy": len(system.services), "config": len(system.services),
                  "log_noise": len(system.services)}.get(kind, len(system.instances))  # fmt: skip
        confounders.append(
            Confounder(
                kind=kind, target=int(rng.integers(places)), start_s=float(start),
                duration_s=float(rng.uniform(20, 300)), size=float(size),
            )  # type: ignore[arg-type]
        )  # fmt: skip
    load = Load(rate=rate, swing=0.1, noise=float(rng.uniform(0.02, 0.1)))
    scenario = Scenario(
        id=f"healthy-{number}", system=system, seed=int(rng.integers(1 << 30)), load=load, label="none",
        confounders=tuple(confounders), baseline_s=float(seconds) / 2, incident_s=float(seconds) / 2,
        start_ns=START_NS + number * 86_400 * SECOND,
    )  # fmt: skip
    return planned(scenario, shape), _Uncounted(scenario), said


class _Uncounted(SliCounter):
    """Hours of requests need not be kept."""

    def add(self, chunk: object) -> None:  # type: ignore[override]
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--only", default="", help="one kind of fault")
    parser.add_argument("--case", type=int, help="one case by its number")
    parser.add_argument(
        "--hours", type=float, default=12.0, help="healthy hours, in streams of 2 h over different systems"
    )
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    tally = Tally()
    for number in range(args.faults):
        kind = FAULTS[number % len(FAULTS)]
        if (args.only and kind != args.only) or (args.case is not None and number != args.case):
            continue
        plan, counter = fault_case(kind, number, args.seed)
        out = watch(f"{number} {kind} {plan.strikes[0].spec.magnitude:.2f}", plan, counter, args.verbose)
        print(judge_fault(plan, counter, out, tally), flush=True)
    for number in range(round(args.hours / 2)):
        plan, counter, said = healthy_case(number, 2.0, args.seed)
        out = watch(f"healthy {number}", plan, counter, args.verbose)
        tally.ticks += out.tick_s
        tally.healthy_s += out.seconds
        tally.false += [f"{out.name}: {told(r, plan)}" for r in out.opened]
        print(f"healthy {number}: {len(plan.scenario.system.services)} services, {plan.scenario.load.rate:.0f}/s, "
              f"{len(out.opened)} opened; {'; '.join(said)}", flush=True)  # fmt: skip
    return report(tally, args.json)


def report(tally: Tally, path: Path | None) -> int:
    quantiles = [float(np.quantile(tally.delays, q)) if tally.delays else float("nan") for q in (0.5, 0.95, 1.0)]
    result = {
        "opened": len(tally.delays), "missed": len(tally.missed),
        "missed_in_hindsight_too": tally.unseen, "absorbed": tally.absorbed, "delay_s_p50": quantiles[0],
        "delay_s_p95": quantiles[1], "delay_s_max": quantiles[2], "false": len(tally.false),
        "healthy_hours": tally.healthy_s / 3600, "closed": tally.closed, "opened_again": tally.again,
        "onset_off_s_p50": float(np.median(tally.onset_off)) if tally.onset_off else None,
        "onset_off_s_p95_abs": float(np.quantile(np.abs(tally.onset_off), 0.95)) if tally.onset_off else None,
        "end_off_s_p50": float(np.median(tally.end_off)) if tally.end_off else None,
        "tick_cpu_ms_p50": float(np.median(tally.ticks)) * 1e3, "tick_cpu_ms_max": float(np.max(tally.ticks)) * 1e3,
    }  # fmt: skip
    for kind, items in (("missed", tally.missed), ("false", tally.false)):
        for item in items:
            print(f"{kind}: {item}")
    print(json.dumps(result, indent=1))
    if path is not None:
        path.write_text(json.dumps(result, indent=1))
    return int(bool(tally.false) or quantiles[1] > 30.0)


if __name__ == "__main__":
    sys.exit(main())
