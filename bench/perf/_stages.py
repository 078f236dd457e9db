"""Seconds and peak memory of each stage of a diagnosis in this process, for `diagnose_large.py`; one thread.

A channel that comes first pays for what others share with it.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
BEGAN = time.perf_counter()


def stage(name: str, work: Callable[[], T]) -> T:
    """Run one stage and print its wall and CPU seconds and the peak so far."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  {name:24s} {time.perf_counter() - wall:6.3f} s, CPU {time.process_time() - cpu:6.3f} s, {peak:7,.0f} MiB")
    return done


def imports() -> None:
    import aetia.api
    import aetia.ingest.source
    import aetia.localize.explain  # noqa: F401
    from aetia.signals.stats import normal_cdf

    normal_cdf(0.0)


def main() -> int:
    """The stages of `aetia.diagnose` on one case folder."""
    print("stages of one process with one thread:")
    stage("imports", imports)
    from aetia import api, plugins
    from aetia.ingest.source import open_sources
    from aetia.signals.view import Facts

    loaded = stage("reading", lambda: open_sources((sys.argv[1],)))
    facts = Facts(loaded.telemetry)
    stage("spans", lambda: facts.spans)
    stage("logs", lambda: facts.logs)
    stage("metrics", lambda: facts.metrics)
    detector = plugins.create("detector", api.DETECTOR)
    case = loaded.case
    incident = stage("detection", lambda: detector.detect(facts, baseline=case.baseline, incident=case.incident))[0]
    view = api.view_of(loaded, facts, incident)
    for name in plugins.names("channel"):
        channel = plugins.create("channel", name)
        stage(f"channel {name}", lambda channel=channel: channel.observe(view))
    stage("localizing, 1 or 2 views", lambda: plugins.create("localizer", "explain").localize(view, incident))
    print(f"  {'all of it':24s} {time.perf_counter() - BEGAN:6.3f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
