"""Runs localizers over suites: in parallel, resumable, every failure a row."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from aetia import plugins
from aetia.bench import perturb as perturbations
from aetia.bench.facts import decisive_facts
from aetia.bench.investigation import limits_of
from aetia.bench.journals import folder_for, journal_name
from aetia.bench.messages import Answered, Lead, Message, Ready, Stood, Task, Unable
from aetia.bench.methods import Method, methods, parse_method
from aetia.bench.pool import Pool
from aetia.bench.record import Record, code_hash, fingerprint, record_path
from aetia.bench.result import BenchResult, Row, write_result
from aetia.bench.scoring import Answer, distinct_roots, score_answer
from aetia.bench.suites import Suite, resolve
from aetia.bench.summary import summarise
from aetia.ingest.source import list_cases
from aetia.model.case import Case
from aetia.model.errors import BenchError, PolicyError
from aetia.model.journal import Price
from aetia.model.window import NS_PER_SECOND

Onset = Literal["given", "detected"]


class Progress(NamedTuple):
    """How far a run is: rows done, rows in all, and the row that just came (None: at the start)."""

    done: int
    total: int
    row: Row | None


class Job(NamedTuple):
    """One case of one suite with one onset and one perturbation; `reader` reads `path`."""

    suite: Suite
    reader: str
    path: Path
    case: Case
    onset: str
    perturbation: str


def run(
    suites: str | Path | Sequence[str | Path],
    localizers: str | Sequence[str] = "all",
    *,
    policies: str | Sequence[str] = (),
    seeds: int = 1,
    model: tuple[str, str] | None = None,
    price: Price | None = None,
    journals: str | Path | None = None,
    onset: Onset | Sequence[Onset] = "given",
    jobs: int | None = None,
    json_path: str | Path | None = None,
    resume: bool = True,
    timeout_s: float = 60.0,
    seed: int = 0,
    perturb: str | Sequence[str] = (),
    limit: int | None = None,
    detector: str = "sli",
    progress: Callable[[Progress], None] | None = None,
) -> BenchResult:
    """Ask every localizer about every case and score the answers.

    `suites`: names (`aetia bench list`) or paths to cases; `localizers`: names, comma-separated or a list, or
    `all`. `onset` `given` takes the windows of the case, `detected` hides them and asks the detector. Each
    entry of `perturb` is one more variant (`none` is the case as it is; entries with commas are joined).
    `timeout_s` is wall time per localizer and case; a localizer that overruns is killed and has missed.
    With `json_path` the result is written there, and finished rows are kept beside it, so that a run that was
    interrupted goes on where it stopped as long as code, case and settings are the same. `limit` takes only
    the first cases of each suite.

    `policies` names investigations (or `all`) that go on from what each localizer said, `seeds` times each, with seeds
    that count up from `seed`; `model` is the URL and the name of the language model that they may ask, `price` what its
    tokens cost. `journals` is a folder in which the journal of every investigation is kept.

    Raises BenchError, UnknownPlugin or IngestError for what cannot be run at all; other failures are rows.
    """
    names, asked = _named("localizer", localizers), _policies(policies)
    onsets = _distinct((onset,) if isinstance(onset, str) else onset)
    variants = _variants(perturb)
    _check_numbers(timeout_s, seeds)
    path = Path(json_path) if json_path is not None else None
    work = _jobs(_distinct([suites] if isinstance(suites, str | Path) else suites), onsets, variants, limit)
    plugins.find("detector", detector)
    everyone = methods(names, asked, seeds)
    record = Record(record_path(path), resume=resume)
    plan = _Plan(everyone, _codes(everyone), (seed, timeout_s, detector), model, record, folder_for(journals))
    workers = max(1, jobs or os.cpu_count() or 1)
    try:
        rows = _execute(plan, work, workers, progress)
    finally:
        plan.record.close()
    described: dict[str, object] = {
        "localizers": list(names), "onset": list(onsets), "perturb": list(variants), "timeout_s": timeout_s,
        "seed": seed, "detector": detector, "limit": limit, "jobs": workers,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **_investigating(plan, asked, seeds, price),
    }  # fmt: skip
    result = summarise(_priced(rows, price), settings=described)
    if path is not None:
        write_result(result, path)
    return result


def _check_numbers(timeout_s: float, seeds: int) -> None:
    if timeout_s <= 0:
        raise BenchError(f"timeout_s is {timeout_s:g}; give a positive number of seconds.")
    if seeds < 1:
        raise BenchError(f"seeds is {seeds}; give at least 1.")


def _priced(rows: Sequence[Row], price: Price | None) -> list[Row]:
    """The rows with what their investigations cost; afterwards, so that another price asks no model again."""
    if price is None:
        return list(rows)
    return [
        row if (spent := row.investigated) is None
        else msgspec.structs.replace(
            row, investigated=msgspec.structs.replace(spent, cost=price.of(spent.tokens_in, spent.tokens_out))
        )
        for row in rows
    ]  # fmt: skip


def _investigating(plan: _Plan, policies: tuple[str, ...], seeds: int, price: Price | None) -> dict[str, object]:
    """The settings of the policies; nothing without one."""
    if not policies:
        return {}
    limits = limits_of(plan.settings[1])
    return {
        "policies": list(policies), "seeds": seeds, "model": plan.model[1] if plan.model is not None else None,
        "deadline_s": limits.deadline_s, "max_calls": limits.max_calls, "max_tokens": limits.max_tokens,
        "price": msgspec.to_builtins(price),
    }  # fmt: skip


class _Plan(NamedTuple):
    methods: tuple[Method, ...]
    codes: dict[Method, str]
    settings: tuple[int, float, str]
    model: tuple[str, str] | None
    record: Record
    journals: str | None = None

    def key(self, job: Job, method: Method) -> tuple[str, ...]:
        settings: tuple[object, ...] = (*self.settings, str(job.path))
        if method.policy is not None:
            settings = (*settings, self.model)
        mark = fingerprint(code=self.codes[method], case=job.case, settings=settings)
        asked = (method.localizer, method.policy or "", str(method.repeat))
        return (job.suite.name, job.case.system, job.case.id, *asked, job.onset, job.perturbation, mark)


def _codes(everyone: tuple[Method, ...]) -> dict[Method, str]:
    """The code that each method's answers depend on."""
    found: dict[Method, str] = {}
    for method in everyone:
        modules = [plugins.find("localizer", method.localizer).module]
        if method.policy is not None:
            modules.append(plugins.find("policy", method.policy).module)
        found[method] = code_hash(*modules) + _weights(method.policy)
    return found


def _weights(policy: str | None) -> str:
    """The hash of what a policy was trained to, "" for one that was not; raises PolicyError where it is missing."""
    if policy is None or "scorer" not in plugins.find("policy", policy).needs:
        return ""
    return str(getattr(plugins.create("policy", policy), "options", {}).get("sha256", ""))


def _distinct(items: Iterable[str | Path]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(item) for item in items))


def _named(kind: Literal["localizer", "policy"], asked: str | Sequence[str]) -> tuple[str, ...]:
    """Names of the algorithms; raises UnknownPlugin or PluginUnavailable when one cannot run."""
    parts = asked.split(",") if isinstance(asked, str) else list(asked)
    names = _distinct(part.strip() for part in parts if part.strip())
    if "all" in names:
        names = plugins.names(kind)
    if not names:
        raise BenchError(f"no {kind} was named; name some, or 'all'.")
    for name in names:
        plugins.find(kind, name)
    return names


def _policies(asked: str | Sequence[str]) -> tuple[str, ...]:
    """Names of the policies; `all` leaves out those that were trained, where nothing says to what."""
    names = _named("policy", asked) if asked else ()
    every = "all" in (asked.split(",") if isinstance(asked, str) else asked)
    kept: list[str] = []
    for name in names:
        try:
            _weights(name)
        except PolicyError:
            if not every:
                raise
        else:
            kept.append(name)
    return tuple(kept)


def _variants(specifications: str | Sequence[str]) -> tuple[str, ...]:
    texts = (specifications,) if isinstance(specifications, str) else tuple(specifications)
    names = _distinct(text.strip() or perturbations.NONE for text in texts) or (perturbations.NONE,)
    for name in names:
        perturbations.parse(name)
    return names


def _jobs(suites: tuple[str, ...], onsets: tuple[str, ...], variants: tuple[str, ...], limit: int | None) -> list[Job]:
    jobs: list[Job] = []
    for name in suites:
        suite = resolve(name)
        reader, path, cases = list_cases(suite.source)
        if not cases:
            raise BenchError(f"suite '{name}' ({path}) holds no case; give a folder of cases.")
        if len({case.id for case in cases}) < len(cases):
            raise BenchError(f"suite '{name}' ({path}) holds several cases of one id; make the ids distinct.")
        if any(job.suite.name == suite.name for job in jobs):
            raise BenchError(f"two suites are called '{suite.name}'; rename one of the folders.")
        variations = itertools.product(onsets, variants, cases[:limit])
        jobs += [Job(suite, reader, path, case, onset, variant) for onset, variant, case in variations]
    return jobs


def _execute(plan: _Plan, work: list[Job], jobs: int, progress: Callable[[Progress], None] | None) -> list[Row]:
    """All rows, those of the record included; what is missing is run."""
    rows: list[Row] = []
    tasks: list[tuple[int, Task]] = []
    for index, job in enumerate(work):
        missing: list[str] = []
        for method in plan.methods:
            row = _finished(plan, job, method)
            if row is None:
                missing.append(method.text)
            else:
                rows.append(row)
        if missing:
            tasks.append((index, _task(plan, job, missing)))
    total = len(work) * len(plan.methods)
    if progress is not None:
        progress(Progress(len(rows), total, None))
    pool: Pool[int] = Pool(tasks, jobs)
    pool.start()
    try:
        for row in _collect(plan, work, dict(tasks), pool):
            plan.record.add(row)
            rows.append(row)
            if progress is not None:
                progress(Progress(len(rows), total, row))
    finally:
        pool.stop()
    return rows


def _finished(plan: _Plan, job: Job, method: Method) -> Row | None:
    """The row of an earlier run; where journals are wanted, only if its journal is there."""
    row = plan.record.rows.get(plan.key(job, method))
    if row is None or row.investigated is None or plan.journals is None:
        return row
    return row if (Path(plan.journals) / journal_name(_task(plan, job, []), method)).is_file() else None


def _task(plan: _Plan, job: Job, names: list[str]) -> Task:
    seed, timeout_s, detector = plan.settings
    return Task(
        reader=job.reader, path=str(job.path), case=job.case.id, localizers=tuple(names), onset=job.onset,
        perturbation=job.perturbation, detector=detector, seed=seed, timeout_s=timeout_s, model=plan.model,
        suite=job.suite.name, journals=plan.journals,
    )  # fmt: skip


def _collect(plan: _Plan, work: list[Job], tasks: dict[int, Task], pool: Pool[int]) -> Iterable[Row]:
    """Rows as the workers report; a case that cannot be asked gives one row for each of its localizers."""
    ready: dict[int, Ready] = {}
    answered: dict[int, set[str]] = {index: set() for index in tasks}
    open_tasks = len(tasks)
    while open_tasks:
        item = pool.results.get()
        if isinstance(item, BaseException):
            raise BenchError(f"no worker process could be started ({item}); lower --jobs.") from item
        index, message = item
        if message is None:
            open_tasks -= 1
        elif isinstance(message, Ready):
            ready[index] = message
        for answer in _answers(message, tasks[index], answered[index]):
            answered[index].add(answer.localizer)
            yield _row(plan, work[index], answer, ready.get(index))


def _answers(message: Message | None, task: Task, done: set[str]) -> list[Answered]:
    if isinstance(message, Answered):
        return [message] if message.localizer not in done else []
    if isinstance(message, Unable):
        answer = Answer(failure=message.failure, unapplied=message.unapplied)
        rest = [name for name in task.localizers if name not in done]
        return [Answered(localizer=name, answer=answer, seconds=0.0, peak_rss_mb=None) for name in rest]
    return []


def _row(plan: _Plan, job: Job, said: Answered, ready: Ready | None) -> Row:
    score, method = score_answer(said.answer, job.case), parse_method(said.localizer)
    investigated = said.investigated
    if investigated is not None:
        investigated = msgspec.structs.replace(
            investigated, facts=decisive_facts(said.answer, score), course=_course(said.leads, job.case)
        )
    asked = score.outcome in ("answered", "abstained", "empty") or (
        said.answer.failure is not None and said.answer.failure.kind in ("exception", "timeout", "invalid")
    )
    seed, _, _ = plan.settings
    return Row(
        **{name: getattr(score, name) for name in score.__struct_fields__},
        suite=job.suite.name, system=job.case.system, case=job.case.id, localizer=method.localizer,
        policy=method.policy, repeat=method.repeat, investigated=investigated,
        onset=job.onset, perturbation=job.perturbation, seed=seed + method.repeat,
        label=job.case.label, group=job.case.group,
        seconds=said.seconds if asked and ready is not None else None,
        load_seconds=ready.load_seconds if ready else None, facts_seconds=ready.facts_seconds if ready else None,
        detect_seconds=ready.detect_seconds if ready else None, peak_rss_mb=said.peak_rss_mb,
        opened=ready.opened if ready else None, onset_error_s=_onset_error(job, ready),
        spurious=ready.spurious if ready else 0, fingerprint=plan.key(job, method)[-1],
    )  # fmt: skip


def _course(leads: tuple[Lead, ...], case: Case) -> tuple[Stood, ...]:
    """The answers of an investigation as they stood, judged; neighbours of one judgement are one."""
    course: list[Stood] = []
    for lead in leads:
        right = score_answer(lead.answer, case).correct
        if not course or course[-1].right != right:
            course.append(Stood(lead.at_s, lead.calls, lead.tokens, right))
    return tuple(course)


def _onset_error(job: Job, ready: Ready | None) -> float | None:
    """Detected minus true onset in seconds, where both are known."""
    onsets = [root.onset_ns for root in distinct_roots(job.case.truth or ()) if root.onset_ns is not None]
    if job.onset != "detected" or ready is None or ready.onset_ns is None or not onsets:
        return None
    return (ready.onset_ns - min(onsets)) / NS_PER_SECOND
