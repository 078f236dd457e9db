"""A simulated incident that ends now, and series that a metric server holds beside it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pyarrow as pa

from aetia.lab.sim import FaultSpec, Load, Scenario, make_system, simulate
from aetia.model.case import Case
from aetia.model.tables import Telemetry
from aetia.model.window import Window

BASELINE_S, INCIDENT_S = 120, 90


@dataclass(frozen=True)
class Live:
    """A simulated incident that still lasts."""

    case: Case
    telemetry: Telemetry
    culprit: str

    @property
    def minute(self) -> Window:
        """Around the onset."""
        assert self.case.incident is not None
        onset = self.case.incident.start_ns
        return Window(onset - 20 * 10**9, onset + 20 * 10**9)

    @property
    def around(self) -> Telemetry:
        """The rows of that time."""

        def cut(table: pa.Table) -> pa.Table:
            return table.filter(pa.array(self.minute.mask(table["time"].cast("int64").to_numpy())))

        return Telemetry(**{name: cut(self.telemetry.table(name)) for name in ("spans", "logs", "metrics")})

    @property
    def window(self) -> Window:
        assert self.case.baseline is not None and self.case.incident is not None
        return Window(self.case.baseline.start_ns, self.case.incident.end_ns)


def simulated() -> Live:
    """A service of six computes too much for the last ninety seconds."""
    system = make_system(6, 4)
    culprit = system.services[3].name
    start_ns = (time.time_ns() // 10**9 - BASELINE_S - INCIDENT_S) * 10**9
    fault = FaultSpec(fault="cpu", service=culprit, onset_s=BASELINE_S, magnitude=1.0)
    case, telemetry = simulate(
        Scenario(id="live", system=system, seed=3, faults=(fault,), load=Load(rate=4), baseline_s=BASELINE_S,
                 incident_s=INCIDENT_S, metric_step_s=5.0, start_ns=start_ns)
    )  # fmt: skip
    return Live(case, telemetry, culprit)


def extras(window: Window) -> list[tuple[dict[str, str], list[tuple[int, float]]]]:
    """A histogram, an alert that begins in the window, one that fired before, and a second-by-second gauge."""
    first, last = window.start_ns // 10**6, window.end_ns // 10**6
    times = range(first, last, 5000)
    place = {"service": "extra", "pod": "extra-0"}
    alert = {"__name__": "ALERTS", "alertstate": "firing", "service": "extra", "severity": "page"}
    return [
        *(
            ({"__name__": "rpc_duration_seconds_bucket", "le": le, **place}, [(at, float(n * share)) for n, at in enumerate(times)])
            for le, share in (("0.1", 1), ("1", 2), ("+Inf", 3))
        ),
        ({"__name__": "rpc_duration_seconds_count", **place}, [(at, 3.0 * n) for n, at in enumerate(times)]),
        ({**alert, "alertname": "Late"}, [(at, 1.0) for at in times if at >= first + 60_000]),
        ({**alert, "alertname": "Old"}, [(at, 1.0) for at in times]),
        ({"__name__": "dense:gauge", "namespace": "dense", **place}, [(at, 1.0) for at in range(first - 12_000_000, last, 1000)]),
    ]  # fmt: skip
