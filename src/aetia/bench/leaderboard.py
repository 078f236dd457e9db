"""The leaderboard of one or more runs: systems first, pooled last, misses and failures in plain sight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from aetia.bench._investigations import investigation_blocks
from aetia.bench._render import (
    DASH,
    Block,
    Forest,
    Heading,
    Table,
    Text,
    interval,
    seconds_text,
    to_html,
    to_markdown,
    to_text,
    value,
)
from aetia.bench.result import UNPERTURBED, BenchResult, Result, merge_rows, read_result
from aetia.bench.summary import summarise
from aetia.model.errors import UsageError
from aetia.model.faults import CLASS_TITLES

Format = Literal["markdown", "html", "text"]
Place = tuple[str, str]


def report(
    *results: BenchResult | str | Path, format: Format = "markdown", title: str = "Leaderboard", width: int = 160
) -> str:
    """The leaderboard of results or of the files that `run` wrote, as text of the given format.

    Rows of several results are joined (of one case, localizer, onset and perturbation the last counts), and
    all figures are computed from the rows again. Raises BenchError when a file cannot be read.
    """
    if format not in ("markdown", "html", "text"):
        raise UsageError(f"there is no report format '{format}'; use markdown, html or text.")
    loaded = [item if isinstance(item, BenchResult) else read_result(Path(item)) for item in results]
    whole = loaded[0] if len(loaded) == 1 else summarise(merge_rows(item.cases for item in loaded))
    blocks = build(whole, title)
    if format == "html":
        return to_html(blocks, title)
    return to_markdown(blocks) if format == "markdown" else to_text(blocks, width)


def build(result: BenchResult, title: str) -> list[Block]:
    """All blocks of the leaderboard."""
    blocks: list[Block] = [Heading(1, title), Text(_INTRODUCTION), *_settings(result)]
    places = sorted({(item.suite, item.system) for item in result.results})
    for place in places:
        blocks += _system(place, [r for r in result.results if (r.suite, r.system) == place])
    if result.pooled:
        blocks += _system(("all", "all"), list(result.pooled))
    return blocks + _failures(result.results)


_INTRODUCTION = (
    "AC@k is the share of true roots within the first k services, over every requested case with a fault: empty "
    "answers, abstentions, crashes, time-outs and undetected incidents are misses, ties share the worst rank. "
    "Brackets are 95 % intervals (bootstrap over clusters of system, service and fault)."
)


def _settings(result: BenchResult) -> list[Block]:
    if not result.settings:
        return []
    shown = {key: value for key, value in result.settings.items() if value not in (None, [], "")}
    return [Text("Settings: " + "; ".join(f"{key} {_plain(value)}" for key, value in shown.items()) + ".")]


def _plain(value: object) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)


def _system(place: Place, results: list[Result]) -> list[Block]:
    suite, system = place
    name = "All systems pooled" if suite == "all" else f"{system} ({suite})"
    plain = [item for item in results if item.perturbation == UNPERTURBED]
    blocks: list[Block] = [Heading(2, name)]
    if plain:
        blocks += [_counts(plain), *_main_table(plain), *_by_class(plain), *_by_fault(plain), *_by_group(plain)]
        blocks += _silence(plain)
        blocks += [*_paired(plain), *_levels(plain), *_calibration(plain), *_cost(plain)]
        blocks += investigation_blocks([i for name in _ordered(plain) for i in plain if i.method == name])
    return blocks + _perturbed(results)


def _counts(results: list[Result]) -> Text:
    first = max(results, key=lambda item: item.cases)
    absorbed = f", {first.absorbed.n} absorbed" if first.absorbed.n else ""
    unlabelled = f", {first.unlabelled} without labels (not scored)" if first.unlabelled else ""
    return Text(f"{first.n} cases with a fault, {first.fault_free.n} without{absorbed}{unlabelled}.")


def _ordered(results: Iterable[Result]) -> list[str]:
    """Localizers and policies on top of them, best first, by AC@1 and Avg@5 with the onset given (detected where it
    was not given)."""
    best: dict[str, tuple[float, float, float]] = {}
    for item in results:
        mark = (float(item.onset != "given"), -(item.ac1.value or 0.0), -(item.avg5.value or 0.0))
        best[item.method] = min(best.get(item.method, mark), mark)
    return sorted(best, key=lambda name: (best[name], name))


def _of(results: Iterable[Result], localizer: str, onset: str) -> Result | None:
    return next((item for item in results if item.method == localizer and item.onset == onset), None)


def _main_onset(results: Iterable[Result]) -> str:
    return "given" if any(item.onset == "given" for item in results) else "detected"


def _main_table(results: list[Result]) -> list[Block]:
    onsets = [onset for onset in ("given", "detected") if any(item.onset == onset for item in results)]
    header = ["localizer"]
    for onset in onsets:
        mark = f" ({onset})" if len(onsets) > 1 else ""
        header += [f"{metric}{mark}" for metric in ("AC@1", "AC@3", "AC@5", "Avg@5", "MRR", "exact set", "class F1")]
    header += ["failed", "empty", "abstained", "undetected"]
    rows: list[list[str]] = []
    for localizer in _ordered(results):
        row = [localizer]
        mine = [_of(results, localizer, onset) for onset in onsets]
        for item in mine:
            row += _metrics(item)
        known = [item for item in mine if item is not None]
        for field in ("failed", "empty", "abstained", "undetected"):
            row.append(" / ".join(str(getattr(item, field)) for item in known))
        rows.append(row)
    main = _main_onset(results)
    bars = tuple((name, item.ac1) for name in _ordered(results) if (item := _of(results, name, main)) is not None)
    return [Table(tuple(header), rows), Forest(f"AC@1, onset {main}", bars)]


def _metrics(item: Result | None) -> list[str]:
    if item is None:
        return [DASH] * 7
    shown = [interval(item.ac1), value(item.ac3), value(item.ac5), interval(item.avg5), value(item.mrr)]
    return [*shown, value(item.exact_set), interval(item.fault_class_f1)]


def _by_class(results: list[Result]) -> list[Block]:
    titles = {str(key): text.split(" (")[0] for key, text in CLASS_TITLES.items()}
    names = {name: f"{name}: {titles.get(name, name)}" for item in results for name in item.by_class}
    return _parts(results, "by_class", "By fault class", names)


def _by_fault(results: list[Result]) -> list[Block]:
    names = {name: name for item in results for name in item.by_fault}
    return _parts(results, "by_fault", "By fault", names) if len(names) > 1 else []


def _by_group(results: list[Result]) -> list[Block]:
    names = {name: name for item in results for name in item.by_group}
    return _parts(results, "by_group", "By group of the suite", names)


def _parts(
    results: list[Result], field: Literal["by_class", "by_fault", "by_group"], title: str, names: dict[str, str]
) -> list[Block]:
    """AC@1 / Avg@5 per part of the cases, a column per part."""
    onset = _main_onset(results)
    mine = [item for name in _ordered(results) if (item := _of(results, name, onset)) is not None]
    if not mine or not names:
        return []
    order = sorted(names)
    sizes = {name: part.n for name in order if (part := getattr(mine[0], field).get(name)) is not None}
    header = ("localizer", *(f"{names[name]} (n={sizes.get(name, 0)})" for name in order))
    rows: list[list[str]] = []
    for item in mine:
        parts = [getattr(item, field).get(name) for name in order]
        rows.append([item.method, *(f"{interval(p.ac1)} / {value(p.avg5)}" if p else DASH for p in parts)])
    return [Heading(3, f"{title}: AC@1 / Avg@5, onset {onset}"), Table(header, rows)]


def _silence(results: list[Result]) -> list[Block]:
    """Cases where saying nothing is right: no fault, and faults that nobody felt."""
    mine = [item for item in results if item.fault_free.n or item.absorbed.n]
    if not mine:
        return []
    header = ("localizer", "onset", "fault-free cases", "false incidents", "rate", "opened by the detector",
              "absorbed: silent / root named / wrong", "spurious incidents")  # fmt: skip
    rows: list[list[str]] = []
    for name in _ordered(mine):
        for item in (item for item in mine if item.method == name):
            free, absorbed = item.fault_free, item.absorbed
            said = f"{absorbed.silent} / {absorbed.named} / {absorbed.wrong}" if absorbed.n else DASH
            shown = [name, item.onset, str(free.n), str(free.answered), interval(free.false_incident_rate)]
            rows.append([*shown, str(free.opened), said, str(item.spurious_incidents)])
    return [Heading(3, "Where silence is right"), Table(header, rows)]


def _paired(results: list[Result]) -> list[Block]:
    rows: list[list[str]] = []
    for name in _ordered(results):
        for item in (item for item in results if item.method == name and item.paired is not None):
            pair = item.paired
            if pair is not None:
                differences = [interval(pair.ac1_difference), interval(pair.avg5_difference)]
                counts = [f"{pair.wins} : {pair.losses}", f"{pair.mcnemar_p:.3g}"]
                rows.append([name, item.onset, pair.rival, str(pair.n), *differences, *counts])
    if not rows:
        return []
    header = ("localizer", "onset", "best rival", "cases", "AC@1 difference", "Avg@5 difference",
              "only we : only the rival", "McNemar p")  # fmt: skip
    return [Heading(3, "Paired with the best rival"), Table(header, rows)]


def _levels(results: list[Result]) -> list[Block]:
    levels = sorted({level for item in results for level in item.levels})
    onset = _main_onset(results)
    mine = [item for name in _ordered(results) if (item := _of(results, name, onset)) is not None]
    if not levels or not mine:
        return []
    header = ("localizer", *(f"{level} (n={mine[0].levels.get(level, {}).get('n', 0):.0f})" for level in levels))
    rows = [[item.method, *(value(item.levels.get(level, {}).get("ac1")) for level in levels)] for item in mine]
    return [Heading(3, f"Finer places named at rank 1, onset {onset}"), Table(header, rows)]


def _calibration(results: list[Result]) -> list[Block]:
    rows: list[list[str]] = []
    for name in _ordered(results):
        for item in (item for item in results if item.method == name):
            if item.calibration is None or item.risk_coverage is None:
                continue
            curve = item.risk_coverage
            stated = [value(item.calibration.ece), str(item.calibration.n)]
            risk = [value(curve.aurc), value(curve.coverage), value(curve.coverage_at_5pct)]
            rows.append([name, item.onset, *stated, *risk, value(item.utility_triage), value(item.utility_repair)])
    if not rows:
        return []
    header = ("localizer", "onset", "ECE", "stated", "AURC", "coverage", "coverage at ≤ 5 % wrong",
              "utility (wrong −1)", "utility (wrong −4)")  # fmt: skip
    return [Heading(3, "Probabilities and abstention"), Table(header, rows)]


def _cost(results: list[Result]) -> list[Block]:
    rows: list[list[str]] = []
    for name in _ordered(results):
        for item in (item for item in results if item.method == name):
            costs = (item.seconds_p50, item.seconds_p95, item.load_seconds_p50, item.facts_seconds_p50)
            peak = f"{item.peak_rss_mb:.0f}" if item.peak_rss_mb else DASH
            rows.append([name, item.onset, *map(seconds_text, costs), peak])
    header = ("localizer", "onset", "localize p50 s", "p95 s", "load p50 s", "shared signals p50 s", "peak RSS MiB")
    return [Heading(3, "Cost"), Table(header, rows)]


def _perturbed(results: Sequence[Result]) -> list[Block]:
    """AC@1 and Avg@5 per perturbation, with the loss against the unperturbed run where there is one."""
    names = sorted({item.perturbation for item in results} - {UNPERTURBED})
    if not names:
        return []
    plain = {(item.method, item.onset): item for item in results if item.perturbation == UNPERTURBED}
    rows: list[list[str]] = []
    for name in names:
        mine = [item for item in results if item.perturbation == name]
        for localizer in _ordered(mine):
            for item in (item for item in mine if item.method == localizer):
                base = plain.get((localizer, item.onset))
                known = base is not None and base.ac1.value is not None and item.ac1.value is not None
                loss = value((item.ac1.value or 0.0) - (base.ac1.value or 0.0)) if known and base else DASH
                shown = [interval(item.ac1), value(item.ac5), interval(item.avg5), loss]
                rows.append([name, localizer, item.onset, str(item.n), *shown, str(item.failed), str(item.unapplied)])
    header = ("perturbation", "localizer", "onset", "n", "AC@1", "AC@5", "Avg@5", "AC@1 against unperturbed", "failed",
              "not applicable")  # fmt: skip
    return [Heading(3, "Perturbed"), Table(header, rows)]


def _failures(results: Sequence[Result]) -> list[Block]:
    rows = [
        [item.method, f"{item.system} ({item.suite})", item.onset, item.perturbation, str(len(entry.cases)),
         entry.failure, ", ".join(entry.cases[:5]) + (" …" if len(entry.cases) > 5 else "")]
        for item in results for entry in item.failures
    ]  # fmt: skip
    if not rows:
        return [Heading(2, "Failures"), Text("None.")]
    header = ("localizer", "system", "onset", "perturbation", "cases", "failure", "which")
    return [Heading(2, "Failures"), Table(header, rows)]
