"""The diagnosis as Markdown, for an issue, a chat or a postmortem."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from aetia.model.diagnosis import Diagnosis, Evidence
from aetia.report import wording

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&])")


def to_markdown(diagnosis: Diagnosis) -> str:
    """GitHub-flavoured Markdown; names from telemetry are escaped: they can neither format nor inject."""
    return "\n".join(_lines(diagnosis)) + "\n"


def escape(text: object, limit: int = 400) -> str:
    """Telemetry text as literal Markdown text on one line."""
    return _SPECIAL.sub(r"\\\1", wording.plain(text, limit)).replace("\\<", "&lt;").replace("\\>", "&gt;")


def _lines(diagnosis: Diagnosis) -> Iterator[str]:
    yield f"# {escape(wording.headline(diagnosis))}"
    yield ""
    yield from _table(("", ""), ((label, escape(value)) for label, value in wording.key_facts(diagnosis)))
    if diagnosis.incident is not None and diagnosis.incident.breaches:
        yield from _heading("What broke, and for whom")
        yield from _table(("entry point", "what", "p", "requests hurt", "evidence"), _breach_rows(diagnosis))
        if diagnosis.severity is not None:
            yield ""
            yield from (f"- {escape(fact.text)}{_cited(fact.evidence)}" for fact in diagnosis.severity.facts)
    if diagnosis.abstained is not None:
        yield from _heading("What is missing")
        yield from _bullets(diagnosis.missing or ("nothing more is known",))
    elif diagnosis.hypotheses:
        yield from _heading("Ranking")
        yield from _table(("", "entity", "level", "probability", "score", "fault", "why"), _ranking_rows(diagnosis))
        if found := wording.assessed(diagnosis):
            yield from _heading("Triage")
            yield from _table(("candidate", "is it abnormal?", "what kind of fault?", "did it begin there?"), (
                (escape(item.entity.name), *(f"{escape(text)}{_cited(ids)}" for text, ids in answers))
                for item, answers in found
            ))  # fmt: skip
        yield from _heading("Evidence")
        yield from _evidence(diagnosis)
    if diagnosis.propagation:
        yield from _heading("How it spread")
        yield from (f"- {' → '.join(escape(name) for name in chain)}" for chain in wording.path(diagnosis))
    if diagnosis.rejected:
        yield from _heading("Ruled out")
        yield from _bullets(wording.rejection(item) for item in diagnosis.rejected)
    if diagnosis.precedents:
        yield from _heading("Seen before")
        yield from _bullets(wording.seen_before(diagnosis))
    if diagnosis.abstained is None and diagnosis.missing:
        yield from _heading("What would make this surer")
        yield from _bullets(diagnosis.missing)
    if diagnosis.dropped:
        yield from _heading("Dropped or mended")
        yield from _bullets(wording.dropped(record) for record in diagnosis.dropped)
    if diagnosis.silent:
        yield from _heading("Silent")
        yield from _bullets(f"{channel}: {reason}" for channel, reason in sorted(diagnosis.silent.items()))
    yield ""
    yield f"{escape(wording.cost(diagnosis))} · localizer {escape(diagnosis.localizer)}"


def _heading(title: str) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""


def _bullets(lines: Iterable[str]) -> Iterator[str]:
    return (f"- {escape(line)}" for line in lines)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _breach_rows(diagnosis: Diagnosis) -> Iterator[tuple[str, ...]]:
    assert diagnosis.incident is not None
    for found in diagnosis.incident.breaches:
        yield (
            escape(found.entry.name), escape(wording.breach(found)), escape(wording.significance(found)),
            wording.hurt_requests(found), escape(found.evidence or "–"),
        )  # fmt: skip


def _cited(ids: tuple[str, ...]) -> str:
    return f" [{escape(wording.joined(ids))}]" if ids else ""


def _ranking_rows(diagnosis: Diagnosis) -> Iterator[tuple[str, ...]]:
    roots = {id(root) for root in wording.roots(diagnosis)}
    for rank, item in enumerate(diagnosis.hypotheses[:10], start=1):
        name = escape(item.entity.name)
        yield (
            str(rank), f"**{name}**" if id(item) in roots else name, wording.level(item.entity),
            escape(wording.percent(item.probability)), wording.number(item.score),
            escape(wording.fault(item)), escape(item.reason),
        )  # fmt: skip


def _evidence(diagnosis: Diagnosis) -> Iterator[str]:
    for root in wording.roots(diagnosis):
        items = wording.evidence_of(diagnosis, root)
        yield from (f"- {_one(item, diagnosis)}" for item in items)
        if not items:
            yield f"- {escape(root.reason or f'{root.entity} ranks first by its score alone.')}"


def _one(item: Evidence, diagnosis: Diagnosis) -> str:
    words = f"{'' if item.polarity == 'for' else '(against) '}{escape(wording.claim(item))}"
    if moved := wording.comparison(item):
        words += f" ({escape(moved)})"
    if chart := wording.series(item):
        mark = wording.incident_index(chart, diagnosis.incident)
        words += f" `{wording.sparkline(chart.values, mark=mark)}`"
    return f"{words} [{escape(item.query.channel)}, strength {item.strength:.2f}, {escape(item.id)}]"
