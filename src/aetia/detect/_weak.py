"""Broken SLIs without requests: from SLI metrics, from alerts, from error lines (weakest, used last)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aetia.detect._once import once
from aetia.detect._requests import Sli
from aetia.detect._scan import Stretch, scan_flags, stretches
from aetia.detect.latency import limit_ms, tolerance
from aetia.detect.throughput import is_loss, usual_rate
from aetia.model import entity
from aetia.model.diagnosis import SliBreach
from aetia.model.errors import SignalError
from aetia.model.window import Window
from aetia.signals.frames import F64, I64, SEVERITY_ERROR, Bool, Series
from aetia.signals.stats import normal_cdf, poisson_tail_p
from aetia.signals.view import Facts

SLI_KINDS = ("latency", "errors", "success", "traffic")
Z = 5.0
ALERT_GAP_NS = 300_000_000_000
COARSE_NS = 120_000_000_000
"""From this bin width on a single bad bin is minutes of harm and opens an incident by itself."""
MIN_ERROR_LINES = 5.0
ALERT, ERROR_LINES = "alert", "error lines per second"
"""Statistics of the breaches that alerts and error lines tell of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakage:
    """One broken weak SLI in [onset_ns, end_ns); `breach` is None for an alert that names no service."""

    onset_ns: int
    end_ns: int
    step_ns: int
    breach: SliBreach | None


def weak_breakages(facts: Facts, baseline: Window | None, declared: frozenset[str] = frozenset()) -> list[Breakage]:
    """Broken SLIs of the best source there is, in order of onset: metrics, then alerts, then error lines. They are
    looked for once for the same facts."""
    return once(facts, ("weak", baseline, declared), lambda: _breakages(facts, baseline, declared))


def _breakages(facts: Facts, baseline: Window | None, declared: frozenset[str]) -> list[Breakage]:
    chosen = sli_series(facts, declared)
    if chosen:
        return _ordered(_from_metrics(facts, baseline, chosen))
    alerts = _from_alerts(facts)
    return _ordered(alerts or _from_error_lines(facts, baseline))


def _ordered(found: list[Breakage]) -> list[Breakage]:
    return sorted(found, key=lambda b: (b.onset_ns, b.breach.entry.name if b.breach else "", b.end_ns))


def entry_services(facts: Facts) -> Bool:
    """Which services users meet: declared or seen entries, else services without callers, else all."""
    services = len(facts.names.services)
    topology = facts.topology
    if len(topology.entry) == services and topology.entry.any():
        return topology.entry.copy()
    if len(topology.caller):
        called = np.zeros(services, np.bool_)
        called[topology.callee] = True
        calls = np.zeros(services, np.bool_)
        calls[topology.caller] = True
        if (calls & ~called).any():
            return calls & ~called
    return np.ones(services, np.bool_)


def sli_series(facts: Facts, declared: frozenset[str]) -> list[list[int]]:
    """Rows of the metric frame that are SLIs, those of one service and name (its instances) together."""
    return once(facts, ("series", declared), lambda: _sli_series(facts, declared))


def _sli_series(facts: Facts, declared: frozenset[str]) -> list[list[int]]:
    series = facts.metrics.series
    named = [k for k, s in enumerate(series) if s.raw in declared]
    if not named:
        entry = entry_services(facts)
        named = [
            k
            for k, s in enumerate(series)
            if s.what in SLI_KINDS and s.service >= 0 and s.caller < 0 and s.callee < 0 and entry[s.service]
        ]
    together: dict[tuple[int, str, str, str], list[int]] = {}
    for k in named:
        s = series[k]
        together.setdefault((s.service, s.raw, s.what, s.statistic), []).append(k)
    return list(together.values())


def _from_metrics(facts: Facts, baseline: Window | None, chosen: list[list[int]]) -> list[Breakage]:
    frame = facts.metrics
    found: list[Breakage] = []
    traffic = _traffic(facts, chosen)
    for rows in chosen:
        one = frame.series[rows[0]]
        values = _together(frame.values[rows], one)
        known = np.isfinite(values)
        if known.sum() < 4:
            continue
        bad, p, usual = _bad_bins(one, values, known, _reference(facts, known, baseline), traffic.get(one.service))
        if frame.step_ns >= COARSE_NS:
            runs = stretches((bad & known)[None, :], np.where(bad, p, 1.0)[None, :])
        else:
            runs = scan_flags(bad[None, :], known[None, :], p[None, :])
        found += [_breakage(facts, one, values, usual, run) for run in runs]
    return found


def _reference(facts: Facts, known: Bool, baseline: Window | None) -> Bool | None:
    return known & baseline.mask(facts.metrics.bin_start_ns) if baseline is not None else None


def metric_numbers(
    facts: Facts, baseline: Window | None, declared: frozenset[str], of: tuple[str, str, str], window: Window
) -> dict[str, Any]:
    """What was measured of the SLI metric `of` (owner, SLI, statistic) in the bins of a window: its mean, what is usual
    as the window begins, and the least p-value of a bad bin. Raises SignalError where there is none."""
    frame = facts.metrics
    chosen = sli_series(facts, declared)
    for rows in chosen:
        one = frame.series[rows[0]]
        inside = np.flatnonzero(window.mask(frame.bin_start_ns))
        if (owner(facts, one), sli_of(one), statistic_of(one)) != of or len(inside) == 0:
            continue
        values = _together(frame.values[rows], one)
        known = np.isfinite(values)
        bad, p, usual = _bad_bins(one, values, known, _reference(facts, known, baseline),
                                  _traffic(facts, chosen).get(one.service))  # fmt: skip
        seen = known[inside]
        return {
            "baseline": float(usual[inside[0]]), "incident": float(np.nanmean(values[inside])) if seen.any() else None,
            "unit": one.unit, "bins": int(seen.sum()), "bad_bins": int(bad[inside].sum()),
            "p_value": float(np.where(bad, p, 1.0)[inside].min()),
        }  # fmt: skip
    raise SignalError(f"there is no SLI metric {of[2]!r} of {of[0]!r} with a bin in the window")


def hurt_share(
    facts: Facts, declared: frozenset[str], of: tuple[str, str, str], before: float, now: float
) -> float | None:
    """The share of an entry point's requests that is hurt by what an SLI metric says, at least; None where it does not
    tell: a mean says how long requests take, and not how many of them are slow."""
    frame = facts.metrics
    for rows in sli_series(facts, declared):
        one = frame.series[rows[0]]
        if (owner(facts, one), sli_of(one), statistic_of(one)) != of:
            continue
        if one.what == "traffic":
            return max(1.0 - now / before, 0.0) if before > 0 else None
        if one.what == "latency":
            quantile = one.statistic[1:] if one.statistic.startswith("p") else ""
            return 1.0 - float(quantile) / 100.0 if quantile.isdigit() and len(quantile) == 2 else None
        if one.what == "success" or _is_share(one, frame.values[rows]):
            share = abs(now - before) / _percent(one, frame.values[rows])
            return share if share <= 1.0 else None
        return None
    return None


def owner(facts: Facts, one: Series) -> str:
    """Who a metric belongs to: its service, else its own name."""
    return facts.names.services[one.service] if one.service >= 0 else one.raw


def statistic_of(one: Series) -> str:
    quantile = one.statistic.startswith("p") and one.statistic not in one.raw
    return f"{one.statistic} of {one.raw}" if quantile else one.raw


def sli_of(one: Series) -> Sli:
    told: dict[str, Sli] = {"latency": "latency", "errors": "success", "success": "success"}
    return told.get(one.what, "throughput")


def _together(values: F64, one: Series) -> F64:
    """Instances of a service as one series: sums for counts, means otherwise; NaN where all are NaN."""
    if len(values) == 1:
        return values[0]
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    count = known.sum(axis=0)
    additive = one.what in ("errors", "traffic") and not _is_share(one, values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(count > 0, total if additive else total / count, np.nan)


def _is_share(one: Series, values: F64) -> bool:
    return one.unit in ("share", "1", "ratio", "%") or (
        one.what == "success" and bool(np.nanmax(values, initial=0.0) <= 1.0)
    )


def _traffic(facts: Facts, chosen: list[list[int]]) -> dict[int, F64]:
    """Requests per second of each service that has a traffic metric."""
    frame = facts.metrics
    out: dict[int, F64] = {}
    for rows in chosen:
        one = frame.series[rows[0]]
        if one.what == "traffic" and one.service not in out:
            out[one.service] = _together(frame.values[rows], one)
    return out


def _bad_bins(
    one: Series, values: F64, known: Bool, reference: Bool | None, traffic: F64 | None
) -> tuple[Bool, F64, F64]:
    """(bad bins, p-value per bin, usual value per bin), each (bins,)."""
    if one.what == "traffic" or (one.what not in SLI_KINDS and one.bad < 0):
        filled = np.where(known, values, np.nanmedian(values))
        usual = usual_rate(filled[None, :])[0]
        if reference is not None and reference.any():
            usual = np.minimum(usual, float(np.median(values[reference])))
        spread = 1.4826 * float(np.median(np.abs(filled - usual))) + 0.05 * float(np.median(np.abs(filled))) + 1e-12
        z = (usual - filled) / spread
        return known & is_loss(filled, usual) & (z > 3), normal_cdf(-z), usual
    level, spread = _healthy(values, known, reference, one.what == "success" or one.bad < 0)
    up = -1.0 if one.what == "success" or one.bad < 0 else 1.0
    rise = np.where(known, (values - level) * up, 0.0)
    z = rise / spread
    least = _least_rise(one, values, level, spread, traffic)
    return known & (z > Z) & (rise > least), normal_cdf(-z), np.full(len(values), level)


def _healthy(values: F64, known: Bool, reference: Bool | None, down: bool) -> tuple[float, float]:
    """(level, robust standard deviation): of the reference, else of the healthier of the first third and
    all."""
    if reference is None or reference.sum() < 3:
        rows = np.flatnonzero(known)
        first, everything = values[rows[: max(3, len(rows) // 3)]], values[known]
        a, b = float(np.median(first)), float(np.median(everything))
        picked = (first if a > b else everything) if down else (first if a < b else everything)
    else:
        picked = values[reference]
    level = float(np.median(picked))
    spread = 1.4826 * float(np.median(np.abs(picked - level)))
    return level, max(spread, 0.02 * abs(level), 1e-6)


def _least_rise(one: Series, values: F64, level: float, spread: float, traffic: F64 | None) -> F64 | float:
    """The smallest change of an SLI that hurts: the latency tolerance, 3 points of a share, 3 % of the
    traffic."""
    if one.what == "latency":
        cv = spread / max(abs(level), 1e-9)
        if one.unit == "ms":
            return float(limit_ms(level, cv)) - level
        return level * (float(tolerance(200.0, cv)) - 1)
    if one.what == "success" or _is_share(one, values):
        return 0.03 * _percent(one, values)
    if one.what == "errors" and traffic is not None:
        return np.maximum(0.03 * np.nan_to_num(traffic), level)
    return max(level, 0.0)


def _percent(one: Series, values: F64) -> float:
    """100 where a share is told as per cent, else 1."""
    return 100.0 if (float(np.nanmax(np.abs(values))) > 1.5 and one.what == "success") or one.unit == "%" else 1.0


def _breakage(facts: Facts, one: Series, values: F64, usual: F64, run: Stretch) -> Breakage:
    frame = facts.metrics
    onset = int(frame.bin_start_ns[run.low])
    end = int(frame.bin_start_ns[run.high - 1]) + frame.step_ns
    inside = values[run.low : run.high]
    breach = SliBreach(
        entry=entity.service(owner(facts, one)),
        sli=sli_of(one),
        statistic=statistic_of(one),
        baseline=float(usual[run.low]),
        incident=float(np.nanmean(inside)),
        onset_ns=onset,
        p_value=run.p,
        requests=0,
        affected=0,
        unit=one.unit,
    )
    return Breakage(onset_ns=onset, end_ns=end, step_ns=frame.step_ns, breach=breach)


def alerts(facts: Facts) -> list[tuple[int, str]]:
    """(time, service) of each alert, in order; the service is "" where an alert names none."""
    changes = facts.telemetry.changes
    if changes.num_rows == 0:
        return []
    kinds = pc.cast(changes["kind"], pa.string()).to_pylist()
    times = pc.cast(changes["time"], pa.int64()).to_pylist()
    services = pc.cast(changes["service"], pa.string()).to_pylist()
    listed = zip(kinds, times, services, strict=True)
    return sorted((time, service or "") for kind, time, service in listed if kind == "alert" and time is not None)


def _from_alerts(facts: Facts) -> list[Breakage]:
    """Alerts within five minutes of each other are one incident; it lasts five minutes beyond the last."""
    found: list[Breakage] = []
    for time, service in alerts(facts):
        breach = None
        if service:
            breach = SliBreach(
                entry=entity.service(service),
                sli="success",
                statistic=ALERT,
                baseline=0.0,
                incident=1.0,
                onset_ns=time,
                p_value=0.0,
                requests=0,
                affected=0,
                unit="",
            )
        found.append(Breakage(onset_ns=time, end_ns=time + ALERT_GAP_NS, step_ns=0, breach=breach))
    return found


def _from_error_lines(facts: Facts, baseline: Window | None) -> list[Breakage]:
    """Error lines per service: at least 5 a bin, three times the usual and beyond chance, in 2 of 3 bins.

    The weakest SLI: an error line need not have hurt anyone, so this is only asked when nothing else is
    there.
    """
    counted = once(facts, "error lines", lambda: _error_lines(facts))
    return _loud(facts, *counted, baseline) if counted is not None else []


def _error_lines(facts: Facts) -> tuple[F64, I64, int] | None:
    """(error lines per service and observed bin, starts of these bins, their width); None without logs."""
    logs = facts.logs
    if len(logs) == 0:
        return None
    low, high = int(logs.time_ns[0]), int(logs.time_ns[-1]) + 1
    step = int(np.clip((high - low) // 60, 10_000_000_000, 300_000_000_000))
    bins = (high - low + step - 1) // step
    starts = low + step * np.arange(bins, dtype=np.int64)
    services = len(facts.names.services)
    bad = (logs.severity >= SEVERITY_ERROR) & (logs.service >= 0)
    place = (logs.time_ns - low) // step
    flat = np.bincount(logs.service[bad].astype(np.int64) * bins + place[bad], minlength=services * bins)
    count = flat.reshape(services, bins).astype(np.float64)
    alive = np.bincount(place, minlength=bins) > 0
    return count[:, alive], starts[alive], step


def line_numbers(facts: Facts, baseline: Window | None, service: str, window: Window) -> dict[str, Any]:
    """Error lines per second of a service in a window, and usually. Raises SignalError where it is unknown."""
    counted = once(facts, "error lines", lambda: _error_lines(facts))
    code = facts.names.service_code(service)
    if counted is None or code < 0 or not (inside := window.mask(counted[1])).any():
        raise SignalError(f"there are no log lines of {service!r} in the window")
    count, starts, step = counted
    usual, bad, p = _judged_lines(count, starts, baseline)
    return {
        "baseline": float(usual[code, 0]) / (step / 1e9), "incident": float(count[code, inside].mean()) / (step / 1e9),
        "unit": "lines/s", "lines": int(count[code, inside].sum()),
        "p_value": float(np.where(bad, p, 1.0)[code, inside].min()),
    }  # fmt: skip


def _judged_lines(count: F64, starts: I64, baseline: Window | None) -> tuple[F64, Bool, F64]:
    """(usual error lines a bin per service (services, 1), bad bins and p-values of all (services, bins))."""
    reference = baseline.mask(starts) if baseline is not None else np.zeros(len(starts), np.bool_)
    if reference.sum() < 3:
        reference = np.arange(len(starts)) < max(3, len(starts) // 3)
    usual = np.minimum(count[:, reference].mean(axis=1), count.mean(axis=1))[:, None]
    p = poisson_tail_p(count, usual + 0.5)
    return usual, (count >= MIN_ERROR_LINES) & (count > 3 * usual) & (p < 1e-4 / max(len(count), 1)), p


def _loud(facts: Facts, count: F64, starts: I64, step: int, baseline: Window | None) -> list[Breakage]:
    if count.shape[1] < 4:
        return []
    usual, bad, p = _judged_lines(count, starts, baseline)
    found: list[Breakage] = []
    for run in scan_flags(bad, np.ones_like(bad), p):
        onset, end = int(starts[run.low]), int(starts[run.high - 1]) + step
        breach = SliBreach(
            entry=entity.service(facts.names.services[run.group]),
            sli="success",
            statistic=ERROR_LINES,
            baseline=float(usual[run.group, 0]) / (step / 1e9),
            incident=float(count[run.group, run.low : run.high].mean()) / (step / 1e9),
            onset_ns=onset,
            p_value=run.p,
            requests=0,
            affected=0,
            unit="lines/s",
        )
        found.append(Breakage(onset_ns=onset, end_ns=end, step_ns=step, breach=breach))
    return found
