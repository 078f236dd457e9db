"""The Python API: telemetry in, diagnosis out. The command line is a thin layer over this file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from aetia import plugins, timespec
from aetia.model.diagnosis import Cost, Diagnosis, DroppedRows, Incident
from aetia.model.errors import ReportError, UsageError
from aetia.model.tables import Telemetry
from aetia.model.window import NS_PER_SECOND, Window
from aetia.parallel import side_by_side
from aetia.report.interchange import load_diagnosis
from aetia.report.wording import duration_ns, moment
from aetia.report.wording import window as words_of

if TYPE_CHECKING:
    from aetia.detect._proof import Proof
    from aetia.detect.sli import SliDetector
    from aetia.ingest.pull.live import Gathered
    from aetia.ingest.reader import Loaded
    from aetia.localize.localizer import Localization, Localizer
    from aetia.model.journal import Event, Situation, Steer
    from aetia.reason.memory import IncidentMemory
    from aetia.reason.policy import Limits, Policy
    from aetia.reason.run import Model
    from aetia.report.recheck import Recheck
    from aetia.signals.frames import Bool
    from aetia.signals.view import Facts, View

__all__ = [
    "Investigation",
    "diagnose",
    "extent_of",
    "gather",
    "investigate",
    "load_diagnosis",
    "pursue",
    "recheck_sources",
    "usual_policy",
    "view_of",
]

Sources = str | Path | Sequence[str | Path]
WindowLike = Window | tuple[int, int] | str
Progress = Callable[[str], None]
DETECTOR = "sli"
USUAL_LOCALIZER, USUAL_POLICY, NO_POLICY = "explain", "rules", "none"
NO_TELEMETRY = "the source holds no telemetry"
SHORT_SECONDS = 60.0
"""Less than this of health is said to be short."""
LEAST_SECONDS = 5.0
LEAST_ROWS = {"spans": 30, "logs": 30, "metrics": 3}
"""A comparison needs one table whose baseline is this long and holds so many rows (of metrics: bins). A pause, a batch
of an exporter or a burst of requests lasts for seconds, and a baseline within one of them says nothing about health. A
feature of all rows is shown to be in nine of ten, "always there" to the channels, by 29 rows or more (.9^29 < .05), and
fewer than 3 values have no spread around a median."""
FARTHEST_NS = 1 << 62
"""1823 to 2116: differences between times inside fit into 64 bits."""
REPAIRS = {
    "clipped_children": "children that begin before or end after their parent; only the common time counts",
    "cycles": "parents that lead in a circle; cut at the earliest span",
    "duplicates": "duplicates of a trace and span id; the first was kept",
    "endless_durations": "durations beyond 30 days; cut to that",
    "missing_durations": "no duration; taken as 0",
    "missing_times": "no time; left out",
    "negative_durations": "negative durations; taken as 0",
    "orphans": "orphans, whose parent is not in the data; they begin a part of their trace",
    "shared_ids": "client and server under one span id; both were kept",
}
"""What the signals mended, by the names of `Facts.counts`."""
AT_LENGTH_NS = 10 * 60 * NS_PER_SECOND
"""Incident length when the caller gives its start alone and no detected incident holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Investigation:
    """A diagnosis with what it was made from. `view` is None when no incident was found; `others` are the
    further incidents in the data, which were not diagnosed."""

    diagnosis: Diagnosis
    loaded: Loaded
    facts: Facts
    view: View | None
    others: tuple[Incident, ...] = ()


def gather(
    live: Sequence[str],
    source: Sources = (),
    *,
    baseline: str | None = None,
    incident: str | None = None,
    since: str | None = None,
    at: str | None = None,
    progress: Progress | None = None,
) -> Gathered:
    """Fetch telemetry from systems that keep it, `KIND=URL` each (see docs/connectors.md), and read `source` beside it.

    Windows count from now; a baseline before the incident is fetched, too. Hand `loaded` and the windows to `diagnose`.
    Raises UsageError for windows and kinds that cannot be, NetError and IngestError where nothing could be fetched.
    """
    from aetia.ingest.pull import live as connectors
    from aetia.signals.kinds import recognise

    plan = connectors.plan_of(time.time_ns(), baseline=baseline, incident=incident, since=since, at=at)
    read = _read(_paths(source)) if source else None
    return connectors.gather(
        live, plan, read, prefer=lambda name: recognise(name).what != "other", say=progress or _silent
    )  # fmt: skip


def diagnose(
    source: Sources | Loaded,
    *,
    baseline: WindowLike | None = None,
    incident: WindowLike | None = None,
    since: str | None = None,
    at: str | int | None = None,
    localizer: str | Localizer = USUAL_LOCALIZER,
    policy: str | Policy | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Diagnosis:
    """Why the system behind some telemetry broke.

    `source` is a folder, file, case, `PATH:CASE` or `SUITE:CASE`, several of them, or telemetry in memory. Windows come
    from the caller, else from the case, else they are detected. A window is a `Window`, a pair of UTC
    nanoseconds or text such as `-30m..now` (see `aetia.timespec`); `since` opens a window to the end of the
    data; `at` is a time inside the incident. `policy` investigates further what the localizer found (see
    `usual_policy`); "none" leaves it at that. `progress` is called with the name of each stage as it begins.

    The same source, windows, localizer, policy and seed give the same diagnosis, its cost aside. Raises UsageError
    for windows outside the data and IngestError for sources that cannot be read.
    """
    found = investigate(
        source, baseline=baseline, incident=incident, since=since, at=at, localizer=localizer, seed=seed,
        progress=progress,
    )  # fmt: skip
    chosen = usual_policy(localizer) if policy is None else policy
    return found.diagnosis if chosen == NO_POLICY else pursue(found, chosen, seed=seed, progress=progress).diagnosis


def usual_policy(localizer: str | Localizer) -> str:
    """The policy that follows a localizer when none is named: whoever chooses another localizer than the usual one
    wants its own answer."""
    return USUAL_POLICY if localizer == USUAL_LOCALIZER else NO_POLICY


def investigate(
    source: Sources | Loaded | Investigation,
    *,
    baseline: WindowLike | None = None,
    incident: WindowLike | None = None,
    since: str | None = None,
    at: str | int | None = None,
    localizer: str | Localizer = USUAL_LOCALIZER,
    seed: int = 0,
    progress: Progress | None = None,
) -> Investigation:
    """What the localizer says, before any policy asks further (`pursue`), with the view and the facts it was made from.

    An `Investigation` as the source means its telemetry, which is not read again: another incident in it, such as one
    of its `others`. Investigations of the same facts share what tools answered about the same windows.
    """
    from aetia.ingest.reader import Loaded
    from aetia.localize._prior import prior_of

    if sum(given is not None for given in (incident, since, at)) > 1:
        raise UsageError("--incident, --since and --at exclude one another; give one of them.")
    method, name = _localizer(localizer)
    say = progress or _silent
    began = time.perf_counter()
    say("reading telemetry")
    if isinstance(source, Investigation):
        paths, loaded, facts = source.diagnosis.source, source.loaded, source.facts
    else:
        paths = () if isinstance(source, Loaded) else _paths(source)
        loaded = source if isinstance(source, Loaded) else _read(paths)
        facts = _facts(loaded)
    say("finding the incident")
    notes: list[str] = []
    proof, others = _choose(loaded, facts, notes, baseline=baseline, incident=incident, since=since, at=at)
    chosen = proof.incident if proof is not None else None
    view = view_of(loaded, facts, chosen, baseline_given=baseline is not None) if chosen is not None else None
    say("localizing the root cause")
    if chosen is None or view is None:
        found = _no_incident(loaded)
    else:
        found = _nothing_to_compare(view) or method.localize(view, chosen, seed=seed)
    prior = prior_of(found, localizer=name, incident=chosen, proof=proof)
    diagnosis = msgspec.structs.replace(
        prior,
        case=loaded.case.id or None,
        source=paths,
        missing=(*found.missing, *notes, *(_gaps(view) if view is not None else ()), *_mention(others)),
        dropped=_dropped(loaded.telemetry, facts),
        cost=Cost(seconds=round(time.perf_counter() - began, 3), rows=_rows(loaded.telemetry)),
    )
    return Investigation(diagnosis=diagnosis, loaded=loaded, facts=facts, view=view, others=others)


def pursue(
    found: Investigation,
    policy: str | Policy,
    *,
    limits: Limits | None = None,
    seed: int = 0,
    model: Model | None = None,
    tell: Callable[[Event], None] = lambda event: None,
    steers: Callable[[], Sequence[Steer]] = tuple,
    progress: Progress | None = None,
    options: Mapping[str, Any] | None = None,
    question: str = "",
    memory: IncidentMemory | None = None,
    system: str = "",
) -> Investigation:
    """Investigate what `investigate` found: a policy asks the telemetry, moves beliefs and settles the ranking.

    `tell` hears every event of the journal, `steers` is asked for wishes of a person, `model` answers policies that use
    a language model. `options` are what a policy given by name is made with, plain values that the journal keeps. A
    `question` of a person is answered by the model when the policy has ended, in the last event (`Closed.answer`).
    `memory` gives precedents, which order questions and move no belief; those of a `system` of the same name count in
    full. It is read alone, and a file that cannot be read is named in `missing`.
    Where there is no incident or no answer to start from, nothing is asked. The diagnosis of the result is that of the
    investigation.
    """
    from aetia.reason.answering import Answering
    from aetia.reason.checks.registry import default_checks
    from aetia.reason.making import make_policy, recorded
    from aetia.reason.run import run
    from aetia.reason.situations import situation_of, told
    from aetia.reason.toolbox import ViewTools

    view, prior = found.view, found.diagnosis
    if view is None or prior.abstained is not None:
        return found
    if isinstance(policy, str):
        name, made = policy, make_policy(policy, options, question)
    else:
        name, made = type(policy).__name__, Answering(policy) if question else policy
    (progress or _silent)("investigating")
    situation = situation_of(view, system)
    if memory is not None:
        prior = _remembered(found.diagnosis, memory, situation)
    diagnosis = run(
        prior, made, ViewTools(view, shared=True), name=name, limits=limits, seed=seed, checks=default_checks(),
        model=model, steers=steers, tell=tell, options=recorded(options or {}), question=question,
        situation=told(situation, prior),
    )  # fmt: skip
    return replace(found, diagnosis=diagnosis)


def recheck_sources(
    diagnosis: str | Path | Diagnosis, source: Sources | Loaded, *, progress: Progress | None = None
) -> list[Recheck]:
    """Run every evidence query of a diagnosis (or of its JSON file) again on some telemetry.

    An empty list means that the diagnosis holds no evidence. Raises ReportError when the file is no
    diagnosis and IngestError when the source cannot be read.
    """
    from aetia.ingest.reader import Loaded
    from aetia.ingest.source import open_sources
    from aetia.report.recheck import recheck
    from aetia.signals.view import Facts

    say = progress or _silent
    held = diagnosis if isinstance(diagnosis, Diagnosis) else load_diagnosis(diagnosis)
    if held.incident is None or not held.evidence:
        return []
    say("reading telemetry")
    loaded = source if isinstance(source, Loaded) else open_sources(_places(_paths(source)))
    say(f"running {len(held.evidence)} queries")
    return recheck(held, view_of(loaded, Facts(loaded.telemetry), held.incident))


def view_of(loaded: Loaded, facts: Facts, incident: Incident, *, baseline_given: bool = False) -> View:
    """The view of one incident; the case's own baselines per table hold unless the caller gave a baseline."""
    from aetia.signals.view import View

    case, used = loaded.case, incident.baseline
    # Cut to the data it is still the case's own; one that was found or given is another.
    same = case.baseline is None or (case.baseline.start_ns <= used.start_ns and used.end_ns <= case.baseline.end_ns)
    own = dict(case.baselines) if same and not baseline_given else {}
    return View(facts, (incident.baseline,), incident.window, baselines=own)


def extent_of(telemetry: Telemetry, tables: Sequence[str] = ("spans", "logs", "metrics")) -> Window | None:
    """The time from the first to just after the last row of some tables; None without any row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ends: list[int] = []
    for name in tables:
        column = telemetry.table(name).column("time")
        if len(column) == column.null_count:
            continue
        limits = pc.min_max(pc.cast(column, pa.int64()))
        ends += [limits["min"].as_py(), limits["max"].as_py()]
    return Window(min(ends), max(ends) + 1) if ends else None


def _paths(source: Sources) -> tuple[str, ...]:
    if isinstance(source, str | Path):
        return (str(source),)
    paths = tuple(str(item) for item in source)
    if not paths:
        raise UsageError("no source was given; name a folder or a file with telemetry.")
    return paths


def _places(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Where the sources are: cases of named suites have no path of their own."""
    from aetia.bench.suites import case_of

    return tuple(case_of(path) for path in paths)


def _read(paths: tuple[str, ...]) -> Loaded:
    """Telemetry from disk; what the analysis imports comes in meanwhile."""
    from aetia.ingest.source import open_sources
    from aetia.signals.stats import normal_cdf

    loaded: list[Loaded] = []
    places = _places(paths)
    side_by_side([lambda: loaded.append(open_sources(places)), lambda: normal_cdf(0.0)])
    return loaded[0]


def _facts(loaded: Loaded) -> Facts:
    from aetia.signals.view import Facts

    facts = Facts(loaded.telemetry)
    facts.build()
    return facts


def _remembered(prior: Diagnosis, memory: IncidentMemory, situation: Situation) -> Diagnosis:
    """The diagnosis with precedents; a memory that cannot be read must not end an investigation, and is named."""
    try:
        return msgspec.structs.replace(prior, precedents=memory.precedents(prior, situation))
    except ReportError as error:
        return msgspec.structs.replace(prior, missing=(*prior.missing, f"precedents: {error}"))


def _silent(stage: str) -> None:
    """The default for `progress`."""


def _localizer(localizer: str | Localizer) -> tuple[Localizer, str]:
    """The method and its name; created before anything is read, so that a wrong name costs no time."""
    if isinstance(localizer, str):
        return cast("Localizer", plugins.create("localizer", localizer)), localizer
    return localizer, type(localizer).__name__


def _choose(
    loaded: Loaded,
    facts: Facts,
    notes: list[str],
    *,
    baseline: WindowLike | None,
    incident: WindowLike | None,
    since: str | None,
    at: str | int | None,
) -> tuple[Proof | None, tuple[Incident, ...]]:
    """The incident to diagnose with its proof (None when nobody was hurt) and the others in the data; `notes` gets what
    was done to the windows."""
    extent = extent_of(loaded.telemetry)
    if extent is None:
        return None, ()
    case = loaded.case
    wanted = _given_incident(incident, since, extent)
    before = _window(baseline, extent) if baseline is not None else None
    point = _instant(at, extent)
    if wanted is None and point is None and before is None:
        wanted = case.incident
    own = before is None and case.baseline is not None
    before = before if before is not None else case.baseline
    _check(wanted, before, extent, own_baseline=own)
    if before is None and not case.baselines:
        _leave_a_baseline(wanted, extent)
    wanted, before = _cut("incident", wanted, extent, notes), _cut("baseline", before, extent, notes)
    detector = cast("SliDetector", plugins.create("detector", DETECTOR))
    sli = dict(case.sli)
    found = detector.detect(facts, baseline=before, incident=wanted, sli=sli)
    if point is None:
        chosen, others = _latest(found)
    elif holding := [item for item in found if item.window.contains(point)]:
        chosen, others = holding[-1], tuple(item for item in found if item is not holding[-1])
    else:
        window = Window(point, min(point + AT_LENGTH_NS, extent.end_ns))
        _check(window, before, extent, own_baseline=own)
        measured = detector.detect(facts, baseline=before, incident=window, sli=sli)
        chosen, others = (measured[0] if measured else None), tuple(found)
    return (detector.prove(facts, chosen, baseline=before, sli=sli) if chosen is not None else None), others


def _latest(found: list[Incident]) -> tuple[Incident | None, tuple[Incident, ...]]:
    """The incident that hurt most requests, the later one of equals; the others in order of onset."""
    from aetia.localize._prior import impact_of

    if not found:
        return None, ()
    chosen = max(found, key=lambda item: (impact_of(item).affected, item.onset_ns))
    return chosen, tuple(item for item in found if item is not chosen)


def _given_incident(incident: WindowLike | None, since: str | None, extent: Window) -> Window | None:
    if since is not None:
        return timespec.parse_since(since, extent)
    return _window(incident, extent) if incident is not None else None


def _window(given: WindowLike, extent: Window) -> Window:
    if isinstance(given, Window):
        return given
    if isinstance(given, str):
        return timespec.parse_window(given, extent)
    start, end = given
    if end <= start:
        raise UsageError(f"the window ({start}, {end}) does not end after it starts; swap its sides or widen it.")
    return Window(int(start), int(end))


def _instant(at: str | int | None, extent: Window) -> int | None:
    if at is None:
        return None
    point = timespec.parse_instant(str(at), extent)
    if not extent.contains(point):
        raise UsageError(f"--at {at} lies outside the data, which covers {words_of(extent)}; give a time in it.")
    return point


def _check(incident: Window | None, baseline: Window | None, extent: Window, *, own_baseline: bool) -> None:
    """Refuse windows that cannot be answered, and say what the data covers."""
    for name, window in (("incident", incident), ("baseline", baseline)):
        if window is None:
            continue
        if window.end_ns == window.start_ns:
            raise UsageError(
                f"the {name} window at {moment(window.start_ns)} is empty; give --{name} A..B with B after A."
            )
        if not window.overlaps(extent):
            raise UsageError(
                f"the {name} window {words_of(window)} lies outside the data, which covers"
                f" {words_of(extent)}; give --{name} inside it."
            )
        if max(-window.start_ns, window.end_ns) >= FARTHEST_NS:
            raise UsageError(f"the {name} window ends more than a century away from the data; give --{name} near it.")
    if incident is not None and baseline is not None and incident.overlaps(baseline):
        whose = "the case's own baseline" if own_baseline else "the baseline"
        mend = "give --baseline A..B that does not" if own_baseline else "separate them"
        raise UsageError(f"{whose} ({words_of(baseline)}) overlaps the incident ({words_of(incident)}); {mend}.")


def _leave_a_baseline(incident: Window | None, extent: Window) -> None:
    """Refuse an incident that leaves nothing of the data to compare with."""
    if incident is not None and incident.start_ns <= extent.start_ns and incident.end_ns >= extent.end_ns:
        raise UsageError(
            f"the incident window {words_of(incident)} holds all of the data, which covers {words_of(extent)}: nothing"
            " is left to compare with; choose a shorter window or add earlier telemetry."
        )


def _cut(name: str, window: Window | None, extent: Window, notes: list[str]) -> Window | None:
    """The part of a window for which there is data: what was not recorded is no sign of silence. A tenth of the
    window may be missing, since a record ends with its last row."""
    if window is None or _covered_seconds(window, extent) >= 0.9 * window.seconds:
        return window
    part = Window(max(window.start_ns, extent.start_ns), min(window.end_ns, extent.end_ns))
    notes.append(f"data for the whole {name} window {words_of(window)}: it was cut to {words_of(part)}")
    return part


def _no_incident(loaded: Loaded) -> Localization:
    """The answer when nobody was hurt, or nobody can say."""
    from aetia.localize.localizer import Localization

    extent = extent_of(loaded.telemetry)
    if extent is None:
        missing = ("telemetry: the source holds no span, log line or metric point with a time",)
        return Localization(abstained=NO_TELEMETRY, missing=missing)
    missing = (
        "an incident: no entry point's latency, success or throughput left its baseline;"
        " name the window with --incident A..B or --since 30m if users were hurt",
    )
    if extent.seconds < SHORT_SECONDS:
        missing += (f"a longer record: the data covers {words_of(extent)}, and must hold healthy time too",)
    return Localization(abstained="no incident was found in the data", missing=missing)


def _gaps(view: View) -> tuple[str, ...]:
    """Tables with nothing in a window, and a baseline too short to trust, one line each."""
    extent = extent_of(view.facts.telemetry)
    if extent is None:
        return ()
    found: list[str] = []
    for table, pair in _masks(view).items():
        own = extent_of(view.facts.telemetry, (table,))
        empty = [name for name, mask in zip(("baseline", "incident"), pair, strict=True) if not mask.any()]
        if own is not None and empty:
            aside = not any(own.overlaps(window) for window in (view.incident, *view.baseline_of(table)))
            check = "; check their clock and time zone" if aside else ""
            found.append(f"{table} from the {' and the '.join(empty)} window: those given cover {words_of(own)}{check}")
    health = sum(_covered_seconds(window, extent) for window in view.baseline)
    if 0 < health < SHORT_SECONDS:
        held = duration_ns(health * NS_PER_SECOND)
        found.append(f"a longer baseline: {held} of health tell chance from change badly; give --baseline A..B")
    if all(window.start_ns >= view.incident.end_ns for window in view.baseline):
        found.append(
            "health from before the incident: the baseline lies after the incident; what a repair changed and what fell"
            " back to normal look alike, so give an earlier --baseline A..B where there is one"
        )
    return tuple(found)


def _masks(view: View) -> dict[str, tuple[Bool, Bool]]:
    """(baseline, incident) masks of each table; over bins for metrics."""
    return {"spans": view.span_masks, "logs": view.log_masks, "metrics": view.bin_masks}


def _covered_seconds(window: Window, extent: Window) -> float:
    return max(0, min(window.end_ns, extent.end_ns) - max(window.start_ns, extent.start_ns)) / NS_PER_SECOND


def _nothing_to_compare(view: View) -> Localization | None:
    """An abstention when one of the windows is empty in every table, or no table's baseline suffices."""
    from aetia.localize.localizer import Localization

    before, during = ({name: int(pair[side].sum()) for name, pair in _masks(view).items()} for side in (0, 1))
    if any(before.values()) and any(during.values()):
        return _too_little(view, before)
    full = any(before.values())
    name, flag = ("incident", "--incident") if full else ("baseline", "--baseline")
    window = view.incident if full else view.baseline[0]
    return Localization(
        abstained=f"the {name} window holds no telemetry, so there is nothing to compare",
        missing=(f"telemetry from the {name} window {words_of(window)}; choose another one with {flag} A..B",),
    )


def _too_little(view: View, rows: dict[str, int]) -> Localization | None:
    """An abstention when no table has LEAST_ROWS in a baseline of LEAST_SECONDS; `rows` are those of the baseline."""
    from aetia.localize.localizer import Localization

    extent = extent_of(view.facts.telemetry)
    if extent is None:
        return None
    seconds = {name: sum(_covered_seconds(window, extent) for window in view.baseline_of(name)) for name in rows}
    if any(seconds[name] >= LEAST_SECONDS and rows[name] >= LEAST_ROWS[name] for name in rows):
        return None
    words = {"spans": "spans", "logs": "log lines", "metrics": "bins of metrics"}
    there, needed = (", ".join(f"{held[name]} {words[name]}" for name in words) for held in (rows, LEAST_ROWS))
    length = duration_ns(max(seconds.values()) * NS_PER_SECOND)
    return Localization(
        abstained=f"the baseline is too small to compare with: {length} with {there}",
        missing=(f"{LEAST_SECONDS:g} s or more of baseline with any of {needed}; give --baseline A..B",),
    )


def _mention(others: tuple[Incident, ...]) -> tuple[str, ...]:
    """The incidents that were not diagnosed, one line each."""
    return tuple(
        f"a diagnosis of the other incident at {moment(item.onset_ns)}: run again with --at {item.onset_ns}"
        for item in others[:5]
    )


def _rows(telemetry: Telemetry) -> dict[str, int]:
    return {name: count for name, count in telemetry.rows.items() if count}


def _dropped(telemetry: Telemetry, facts: Facts) -> tuple[DroppedRows, ...]:
    """What readers could not use, and what the signals had to repair, with counts."""
    read = [
        DroppedRows(table=item.table, rows=item.rows, reason=item.reason, source=item.source)
        for item in telemetry.dropped
    ]
    if telemetry.sampled < 1.0:
        share = f"{100 * telemetry.sampled:.3g} % of the traces were read, because the window holds more than fit"
        read.append(DroppedRows(table="spans", rows=0, reason=share))
    repaired = [
        DroppedRows(table="spans", rows=count, reason=REPAIRS.get(what, f"{what.replace('_', ' ')} (handled)"))
        for what, count in sorted(facts.counts.items())
        if count
    ]
    return tuple(read + repaired)
