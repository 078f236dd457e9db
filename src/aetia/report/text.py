"""The diagnosis as one page of text for a terminal; readable at 80 columns, plain when piped."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from aetia.model.diagnosis import Diagnosis, Evidence, Hypothesis
from aetia.report import wording

RANKING_ROWS = 5
EVIDENCE_ROWS = 5
TRIAGE_ROWS = 2
"""The answer and what it is told from; the other pages have all that lead."""


def to_text(diagnosis: Diagnosis, *, width: int = 80) -> str:
    """The page as plain text without colour codes, no line longer than `width` columns."""
    sink = io.StringIO()
    console = Console(
        file=sink, width=width, color_system=None, force_terminal=False, highlight=False, legacy_windows=False
    )
    console.print(page(diagnosis))
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines()) + "\n"


def page(diagnosis: Diagnosis) -> RenderableType:
    """The page as something rich can print."""
    return Group(*_parts(diagnosis))


def _parts(diagnosis: Diagnosis) -> Iterator[RenderableType]:
    yield from _verdict(diagnosis)
    if diagnosis.incident is not None and diagnosis.incident.breaches:
        yield from _section("What broke, and for whom", _breaches(diagnosis), *_severity(diagnosis))
    if diagnosis.abstained is not None:
        yield from _section("What is missing", _bullets(diagnosis.missing or ("nothing more is known",)))
    elif diagnosis.hypotheses:
        yield from _section("Ranking", _ranking(diagnosis))
        if found := list(_triage(diagnosis)):
            yield from _section("Triage", _bullets(found))
        yield from _section("Evidence", _evidence(diagnosis))
    if diagnosis.propagation:
        yield from _section("How it spread", _propagation(diagnosis))
    if diagnosis.rejected:
        yield from _section("Ruled out", _bullets(_rejected(diagnosis)))
    if diagnosis.precedents:
        yield from _section("Seen before", _bullets(wording.seen_before(diagnosis)))
    if diagnosis.abstained is None and diagnosis.missing:
        yield from _section("What would make this surer", _bullets(diagnosis.missing))
    if diagnosis.dropped:
        yield from _section("Dropped or mended", _bullets(wording.dropped(record) for record in diagnosis.dropped))
    if diagnosis.silent:
        yield from _section("Silent", _bullets(_silent(diagnosis)))
    yield Text()
    yield Text(f"{wording.cost(diagnosis)} · localizer {wording.plain(diagnosis.localizer)}", style="dim")


def _verdict(diagnosis: Diagnosis) -> Iterator[RenderableType]:
    named = diagnosis.abstained is None and bool(diagnosis.hypotheses)
    yield Text(wording.headline(diagnosis), style="bold" if named else "bold yellow")
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    for label, value in wording.key_facts(diagnosis):
        facts.add_row(label, Text(value))
    yield facts


def _section(title: str, *body: RenderableType) -> Iterator[RenderableType]:
    yield Text()
    yield Rule(Text(title, style="bold"), align="left", style="dim", characters="─")
    yield from body


def _bullets(lines: Iterable[str]) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for line in lines:
        grid.add_row("•", Text(wording.plain(line, 400)))
    return grid


def _breaches(diagnosis: Diagnosis) -> RenderableType:
    assert diagnosis.incident is not None
    grid = Table.grid(padding=(0, 2))
    grid.add_column(ratio=2)
    grid.add_column(ratio=3)
    for found in diagnosis.incident.breaches[:6]:
        what = Text(wording.breach(found))
        what.append(f", {wording.significance(found)}", style="dim")
        grid.add_row(Text(wording.entity_title(found.entry), style="bold"), what)
    if len(diagnosis.incident.breaches) > 6:
        grid.add_row(Text(f"and {len(diagnosis.incident.breaches) - 6} more", style="dim"), Text())
    return grid


def _severity(diagnosis: Diagnosis) -> Iterator[RenderableType]:
    if diagnosis.severity is not None:
        yield _bullets(f"{fact.text}" for fact in diagnosis.severity.facts)


def _triage(diagnosis: Diagnosis) -> Iterator[str]:
    """Per leading candidate, the three questions with the kinds of evidence that answer them."""
    for item, answers in wording.assessed(diagnosis)[:TRIAGE_ROWS]:
        said = [f"{text} (by {by})" if (by := wording.channels(diagnosis, ids)) else text for text, ids in answers]
        yield f"{wording.entity_title(item.entity)}: {'; '.join(said)}"


def _ranking(diagnosis: Diagnosis) -> RenderableType:
    roots = {id(root) for root in wording.roots(diagnosis)}
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("entity", overflow="fold", ratio=3)
    table.add_column("level", overflow="fold", ratio=2)
    calibrated = any(item.probability is not None for item in diagnosis.hypotheses)
    table.add_column("probability" if calibrated else "score", justify="right", no_wrap=True)
    table.add_column("fault", overflow="fold", ratio=3)
    for rank, item in enumerate(diagnosis.hypotheses[:RANKING_ROWS], start=1):
        belief = wording.percent(item.probability) if calibrated else wording.number(item.score)
        style = "bold" if id(item) in roots else ""
        table.add_row(
            str(rank),
            Text(wording.entity_title(item.entity), style=style),
            wording.level(item.entity),
            Text(belief, style=style),
            Text(wording.fault(item) or "–"),
        )
    more = len(diagnosis.hypotheses) - RANKING_ROWS
    return Group(table, Text(f"   and {more} more", style="dim")) if more > 0 else table


def _evidence(diagnosis: Diagnosis) -> RenderableType:
    parts: list[RenderableType] = []
    causes = wording.roots(diagnosis)
    for root in causes:
        if len(causes) > 1:
            parts.append(Text(wording.entity_title(root.entity), style="bold"))
        items = wording.evidence_of(diagnosis, root)
        parts.extend(_one(item, diagnosis) for item in items[:EVIDENCE_ROWS])
        if len(items) > EVIDENCE_ROWS:
            parts.append(Text(f"and {len(items) - EVIDENCE_ROWS} more", style="dim"))
        if not items:
            parts.append(Text(_no_evidence(root)))
    return Group(*parts)


def _no_evidence(root: Hypothesis) -> str:
    return root.reason or f"{wording.entity_title(root.entity)} ranks first by its score alone."


def _one(item: Evidence, diagnosis: Diagnosis) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column()
    sign = "+" if item.polarity == "for" else "−"
    line = Text(wording.claim(item))
    line.append(f"  [{wording.plain(item.query.channel, 24)}, strength {item.strength:.2f}]", style="dim")
    grid.add_row(Text(sign, style="bold"), line)
    chart = wording.series(item)
    if chart is not None:
        mark = wording.incident_index(chart, diagnosis.incident)
        drawn = Text(wording.sparkline(chart.values, mark=mark), style="cyan")
        if moved := wording.comparison(item):
            drawn.append(f"  {moved}", style="dim")
        grid.add_row("", drawn)
    return grid


def _propagation(diagnosis: Diagnosis) -> RenderableType:
    lines: list[RenderableType] = []
    for chain in wording.path(diagnosis)[:4]:
        line = Text()
        for position, name in enumerate(chain):
            line.append(" → " if position else "", style="dim")
            line.append(name, style="bold" if position == 0 else "")
        lines.append(Padding(line, (0, 0, 0, 2)))
    return Group(*lines)


def _rejected(diagnosis: Diagnosis) -> Iterator[str]:
    for item in diagnosis.rejected[:6]:
        yield wording.rejection(item)
    if len(diagnosis.rejected) > 6:
        yield f"and {len(diagnosis.rejected) - 6} more"


def _silent(diagnosis: Diagnosis) -> Iterator[str]:
    for channel, reason in sorted(diagnosis.silent.items()):
        yield f"{channel}: {reason}"
