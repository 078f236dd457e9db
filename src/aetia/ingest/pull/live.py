"""What a diagnosis fetches: which stretch of time, from which sources, as one telemetry.

Times count from now, not from the end of the data, which is not known before it is fetched. Beside the incident a
baseline from before it is fetched: at least as long again, and at least a quarter of an hour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aetia import timespec
from aetia.ingest.files import merge
from aetia.ingest.pull import Limits, Prefer, client_for, parse_source, pull, shown_source
from aetia.ingest.reader import Loaded
from aetia.ingest.strays import set_strays_aside
from aetia.model.case import Case
from aetia.model.errors import IngestError, UsageError
from aetia.model.tables import Dropped, Telemetry
from aetia.model.window import NS_PER_SECOND, Window
from aetia.net import NetError

SHORTEST_BASELINE_NS = 15 * 60 * NS_PER_SECOND
WITHOUT_TIMES_NS = 3600 * NS_PER_SECOND
"""Fetched where nobody says when the incident was: it is searched for there."""
AROUND_NS = 30 * 60 * NS_PER_SECOND
"""Fetched on either side of a time inside the incident."""
LONGEST_NS = 7 * 86_400 * NS_PER_SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The stretch of time to fetch, and what was given of the windows as absolute times."""

    window: Window
    baseline: Window | None = None
    incident: Window | None = None
    at_ns: int | None = None

    @property
    def onset_ns(self) -> int | None:
        """When the incident begins, where that is known."""
        return self.incident.start_ns if self.incident is not None else self.at_ns


def plan_of(
    now_ns: int, *, baseline: str | None = None, incident: str | None = None, since: str | None = None,
    at: str | None = None,
) -> Plan:  # fmt: skip
    """What to fetch for windows as people type them. Raises UsageError."""
    if sum(given is not None for given in (incident, since, at)) > 1:
        raise UsageError("--incident, --since and --at exclude one another; give one of them.")
    extent = Window(0, now_ns)
    hurt = timespec.parse_since(since, extent) if since is not None else None
    hurt = timespec.parse_window(incident, extent) if incident is not None else hurt
    healthy = timespec.parse_window(baseline, extent) if baseline is not None else None
    point = timespec.parse_instant(at, extent) if at is not None else None
    if hurt is not None:
        span = Window(hurt.start_ns - max(hurt.end_ns - hurt.start_ns, SHORTEST_BASELINE_NS), hurt.end_ns)
    elif point is not None:
        span = Window(point - AROUND_NS, point + AROUND_NS)
    else:
        span = Window(now_ns - WITHOUT_TIMES_NS, now_ns)
    if healthy is not None:
        span = Window(min(healthy.start_ns, hurt.start_ns if hurt else span.start_ns), max(healthy.end_ns, span.end_ns))
    span = Window(span.start_ns, max(min(span.end_ns, now_ns), span.start_ns))
    if span.start_ns >= now_ns or span.start_ns == span.end_ns:
        raise UsageError("the windows lie in the future, where there is nothing to fetch; give earlier ones.")
    if span.end_ns - span.start_ns > LONGEST_NS:
        raise UsageError("more than a week would be fetched; give both sides of --baseline A..B and --incident A..B.")
    return Plan(window=span, baseline=healthy, incident=hurt, at_ns=point)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Telemetry that was fetched (and read), where it came from, and the windows that were given, as absolute times."""

    loaded: Loaded
    names: tuple[str, ...]
    baseline: Window | None
    incident: Window | None
    at: int | None


def gather(
    sources: Sequence[str], plan: Plan, read: Loaded | None = None, *, prefer: Prefer | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Gathered:  # fmt: skip
    """What `fetch` gives, merged with what was read from files. Raises as `fetch` does."""
    telemetry, names = fetch(sources, plan, prefer=prefer, say=say)
    case = Case(id="", source=" + ".join(names))
    if read is not None:
        telemetry, case = merge([read.telemetry, telemetry]), read.case
        names = (case.source or case.id, *names)
    loaded = Loaded(case=case, telemetry=telemetry)
    return Gathered(loaded=loaded, names=names, baseline=plan.baseline, incident=plan.incident, at=plan.at_ns)


def fetch(
    sources: Sequence[str], plan: Plan, *, limits: Limits | None = None, prefer: Prefer | None = None,
    allow_private: bool = True, say: Callable[[str], None] = lambda text: None,
) -> tuple[Telemetry, tuple[str, ...]]:  # fmt: skip
    """The telemetry of all sources as one, and the sources as they are shown.

    A source that cannot be asked while others can is recorded in `dropped`. Raises UsageError for what is no source
    before anything is asked, NetError or IngestError where none of them could be asked.
    """
    chosen = [parse_source(source) for source in sources]
    clients = [client_for(kind, allow_private=allow_private) for kind, _ in chosen]
    names = tuple(shown_source(kind, url) for kind, url in chosen)
    say(f"fetching {', '.join(names)}")
    with ThreadPoolExecutor(len(chosen) or 1, thread_name_prefix="fetch") as pool:
        running = [
            pool.submit(
                pull, kind, url, plan.window, client=client, limits=limits, onset_ns=plan.onset_ns, prefer=prefer
            )
            for (kind, url), client in zip(chosen, clients, strict=True)
        ]
    parts: list[Telemetry] = []
    left_out: list[Dropped] = []
    problem: NetError | IngestError | None = None
    for name, task in zip(names, running, strict=True):
        try:
            parts.append(task.result())
        except (NetError, IngestError) as error:
            problem = problem or error
            left_out.append(Dropped(table="sources", rows=1, reason=str(error), source=name))
    if problem is not None and not parts:
        raise problem
    return set_strays_aside(merge(parts).with_dropped(*left_out)), names
