"""Toy localizers and a toy detector behind the real plugin door, and tiny suites of real case folders."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aetia import plugins
from aetia.ingest.case import write_case
from aetia.model.case import Case, Truth
from aetia.model.tables import LOGS, METRICS, SPANS, Telemetry
from aetia.model.window import Window

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND - 1_700_000_000 * SECOND % (300 * SECOND)
INCIDENT = START + 600 * SECOND
END = START + 900 * SECOND
CHAIN = ("web", "cart", "store")

_HEAD = """
from aetia.localize.localizer import Localization, ranked
from aetia.model.diagnosis import Hypothesis, Incident
from aetia.model.window import Window
from aetia.plugins import plugin
import numpy as np
"""

_LOCALIZERS = {
    "toy_oracle": """
        spans = view.spans
        bad = view.span_masks[1] & spans.error
        return ranked({name: float(np.sum(bad & (spans.service == k))) for k, name in enumerate(view.names.services)})
""",
    "toy_crash": """
        raise KeyError("no such service")
""",
    "toy_hang": """
        import time
        while True:
            try:
                time.sleep(60)
            except Exception:
                pass
""",
    "toy_stuck": """
        import signal, time
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        time.sleep(600)
""",
    "toy_exit": """
        import os
        os._exit(3)
""",
    "toy_threads": """
        from aetia.parallel import thread_count
        raise ValueError(f"{thread_count()} threads")
""",
    "toy_empty": """
        return Localization()
""",
    "toy_abstain": """
        return Localization(abstained="too little evidence")
""",
    "toy_tie": """
        return ranked({name: 1.0 for name in view.names.services})
""",
    "toy_wrong_type": """
        return list(view.names.services)
""",
    "toy_writer": """
        view.spans.duration_ns[:] = 0
        return ranked({"web": 1.0})
""",
    "toy_printer": """
        import sys
        print("noise" * 10000)
        sys.stdout.flush()
        return ranked({"web": np.float64(1.0)})
""",
    "toy_spy": """
        import gc
        from aetia.model.case import Case, Truth
        seen, waiting = set(), [view, incident]
        while waiting:
            item = waiting.pop()
            if id(item) in seen or isinstance(item, (type, type(gc), type(lambda: 0))):
                continue
            seen.add(id(item))
            if isinstance(item, (Case, Truth)):
                return ranked({"leak": 1.0})
            waiting.extend(gc.get_referents(item))
        return ranked({"clean": float(len(seen))})
""",
}
_DETECTOR = """
@plugin("detector")
class ToySli:
    def detect(self, facts, *, baseline=None, incident=None, sli=None):
        spans = facts.spans
        if incident is not None:
            return [Incident(baseline=baseline or incident, window=incident, onset_ns=incident.start_ns, given=True)]
        if "affected" in (sli or {}):
            raise RuntimeError("the labels of the case reached the detector")
        bad = spans.start_ns[spans.error]
        if len(bad) == 0:
            return []
        onset, end = int(bad.min()), int(spans.start_ns.max()) + 1
        return [Incident(baseline=Window(int(spans.start_ns.min()), onset), window=Window(onset, end), onset_ns=onset)]
"""


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An installed third-party package with toy algorithms, for the length of one test module."""
    root = tmp_path_factory.mktemp("toys")
    package = root / "toy_aetia"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    for name, body in _LOCALIZERS.items():
        text = f'{_HEAD}\n@plugin("localizer")\nclass Toy:\n    def localize(self, view, incident, *, seed=0):{body}'
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    (package / "toy_sli.py").write_text(_HEAD + _DETECTOR, encoding="utf-8")
    info = root / "toy_aetia-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy_aetia\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[aetia.plugins]\ntoys = toy_aetia\n", encoding="utf-8")
    sys.path.insert(0, str(root))
    _forget()
    yield package
    sys.path.remove(str(root))
    _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "toy_aetia"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    plugins._modules.cache_clear()
    plugins._load.cache_clear()


def make_telemetry(root: str | None, *, requests: int = 60) -> Telemetry:
    """One request every 15 s through web → cart → store; in the incident the root's spans fail."""
    step = 15 * SECOND
    columns: dict[str, list[object]] = {name: [] for name in SPANS.names}
    logs: dict[str, list[object]] = {name: [] for name in LOGS.names}
    for k in range(requests):
        start = START + k * step
        for depth, name in enumerate(CHAIN):
            failed = name == root and start >= INCIDENT
            row = {
                "time": start + depth * 1_000_000, "trace_id": f"t{k}", "span_id": f"s{k}-{depth}", "service": name,
                "parent_span_id": f"s{k}-{depth - 1}" if depth else None, "instance": f"{name}-0", "name": f"GET /{name}",
                "kind": "server", "duration_ns": (10 - 2 * depth) * 1_000_000, "status": "error" if failed else "ok",
            }  # fmt: skip
            for column in SPANS.names:
                columns[column].append(row.get(column))
            line = {"time": start, "service": name, "instance": f"{name}-0", "severity": "info", "body": f"served {k}"}
            for column in LOGS.names:
                logs[column].append(line.get(column))
    metrics: dict[str, list[object]] = {name: [] for name in METRICS.names}
    for minute in range(15):
        for name in CHAIN:
            row = {
                "time": START + minute * 60 * SECOND,
                "name": "cpu_usage",
                "value": 0.5,
                "type": "gauge",
                "service": name,
            }
            for column in METRICS.names:
                metrics[column].append(row.get(column))
    return Telemetry(
        spans=pa.table(columns, schema=SPANS),
        logs=pa.table(logs, schema=LOGS),
        metrics=pa.table(metrics, schema=METRICS),
    )


def make_case(name: str, root: str | None, **changes: object) -> Case:
    truth = (Truth(service=root, fault="exception", fault_class="C", onset_ns=INCIDENT),) if root else ()
    values: dict[str, object] = {
        "id": name, "system": "shop", "baseline": Window(START, INCIDENT), "incident": Window(INCIDENT, END),
        "truth": truth, "sli": {"affected": ["GET /web"]},
    }  # fmt: skip
    return Case(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def case_of() -> Callable[..., Case]:
    return make_case


@pytest.fixture(scope="session")
def telemetry_of() -> Callable[..., Telemetry]:
    return make_telemetry


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cases: two faults, an absorbed one, none."""
    folder = tmp_path_factory.mktemp("suites") / "tiny"
    labels = {"a-store": None, "b-cart": None, "c-absorbed": "absorbed", "d-calm": "no_fault"}
    roots = {"a-store": "store", "b-cart": "cart", "c-absorbed": "store", "d-calm": None}
    for name, root in roots.items():
        write_case(folder / name, make_case(name, root, label=labels[name]), make_telemetry(root))
    return folder


@pytest.fixture(scope="session")
def clock() -> tuple[int, int, int, int]:
    """(start, incident start, end, one second), all in nanoseconds."""
    return START, INCIDENT, END, SECOND


@pytest.fixture(scope="session")
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
