"""The diagnosis as one self-contained HTML page: no script, no request, readable in light and dark and by keyboard."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import TYPE_CHECKING

from aetia.model.diagnosis import Diagnosis, Evidence, Hypothesis
from aetia.report import svg, wording
from aetia.report.exhibits import ChangedTemplate, Exhibits, collect
from aetia.report.svg import text

if TYPE_CHECKING:
    from aetia.signals.view import View

_SEVERITIES = ("", "trace", "debug", "info", "warn", "error", "fatal")


def to_html(diagnosis: Diagnosis, view: View | None = None) -> str:
    """The page. Without a view it lacks the call graph, the traces and the log templates.

    Everything from telemetry is escaped, and the content security policy allows the page's own style sheet
    and nothing else, so that a hostile name can neither run nor load anything.
    """
    shown = collect(diagnosis, view) if view is not None else Exhibits()
    style = _style()
    policy = f"default-src 'none'; style-src 'sha256-{_sha256(style)}'; base-uri 'none'; form-action 'none'"
    sections = list(_sections(diagnosis, shown))
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{text(wording.headline(diagnosis))}</title><style>{style}</style></head><body>",
        '<a class="skip" href="#main">Skip to the findings</a>',
        _header(diagnosis, sections),
        '<main id="main">',
        *(f'<section id="{key}"><h2>{title}</h2>{body}</section>' for key, title, body in sections),
        "</main>",
        f"<footer>{text(wording.cost(diagnosis))} · localizer {text(diagnosis.localizer)}",
        f" · {text(diagnosis.schema)}</footer>",
        "</body></html>\n",
    ]
    return "".join(parts)


@functools.cache
def _style() -> str:
    return resources.files("aetia.report").joinpath("assets/page.css").read_text("utf-8")


def _sha256(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _header(diagnosis: Diagnosis, sections: list[tuple[str, str, str]]) -> str:
    shown = [item for item in wording.key_facts(diagnosis) if item[0] not in ("probability", "where")]
    facts = "".join(f"<dt>{text(label)}</dt><dd>{text(value, 400)}</dd>" for label, value in shown)
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in sections)
    return (
        f'<header><p class="brand">AETIA · DIAGNOSIS</p><h1>{text(wording.headline(diagnosis), 400)}</h1>'
        f'{_chips(diagnosis)}<dl class="facts">{facts}</dl><nav aria-label="Sections">{links}</nav></header>'
    )


def _chips(diagnosis: Diagnosis) -> str:
    if diagnosis.abstained is not None:
        return '<ul class="chips"><li class="strong">abstained</li></ul>'
    chips: list[str] = []
    for root in wording.roots(diagnosis):
        if root.probability is not None:
            chips.append(f'<li class="strong">{wording.percent(root.probability)} likely</li>')
        chips.append(f"<li>{text(wording.entity_place(root.entity))}</li>")
        if named := wording.fault(root):
            chips.append(f"<li>{text(named)}</li>")
    return f'<ul class="chips">{"".join(dict.fromkeys(chips))}</ul>' if chips else ""


def _sections(diagnosis: Diagnosis, shown: Exhibits) -> Iterator[tuple[str, str, str]]:
    """(id, title, body) of what there is to show, in reading order."""
    if diagnosis.abstained is not None:
        yield "missing", "What is missing", _list(diagnosis.missing or ("nothing more is known",))
    if diagnosis.incident is not None and diagnosis.incident.breaches:
        yield "broke", "What broke, and for whom", _breaches(diagnosis)
    if diagnosis.hypotheses:
        yield "ranking", "Ranking", _ranking(diagnosis)
        if found := wording.assessed(diagnosis):
            yield "triage", "Triage", _triage(diagnosis, found)
    if shown.graph is not None:
        yield "graph", "How it spread", _graph(diagnosis, shown)
    elif diagnosis.propagation:
        yield "graph", "How it spread", _chains(diagnosis)
    if charts := _drawable(diagnosis, shown):
        yield "signals", "Decisive signals", _charts(diagnosis, charts)
    if diagnosis.evidence:
        yield "evidence", "Evidence", _evidence(diagnosis)
    if shown.traces:
        yield "traces", "One bad and one good request" if len(shown.traces) > 1 else "One bad request", _traces(shown)
    if shown.templates:
        yield "logs", "Log lines that appeared or vanished", _templates(shown.templates)
    if diagnosis.rejected:
        yield "rejected", "Ruled out", _list(wording.rejection(item) for item in diagnosis.rejected)
    if diagnosis.precedents:
        yield "seen-before", "Seen before", _list(wording.seen_before(diagnosis))
    if limits := _limits(diagnosis):
        yield "limits", "Limits of this answer", limits


def _list(items: Iterable[str]) -> str:
    return f'<ul class="plain">{"".join(f"<li>{text(item, 400)}</li>" for item in items)}</ul>'


def _columns(*titles: str) -> str:
    """A table's head for eyes and screen readers; # marks a column of numbers, one of pictures has no title."""
    cells = "".join(
        f'<th scope="col"{" class=n" if title[:1] == "#" else ""}>{title.removeprefix("#")}</th>'
        if title
        else "<td></td>"
        for title in titles
    )
    return f"<thead><tr>{cells}</tr></thead>"


def _cited(diagnosis: Diagnosis, *ids: str | None) -> str:
    """Links to evidence on the page."""
    held = {item.id for item in diagnosis.evidence}
    links = ", ".join(f'<a href="#{text(item)}">{text(item)}</a>' for item in ids[:6] if item in held)
    return f' <span class="muted small">{links}</span>' if ids else ""


def _triage(
    diagnosis: Diagnosis, found: list[tuple[Hypothesis, tuple[wording.Answer, wording.Answer, wording.Answer]]]
) -> str:
    rows = "".join(
        f'<tr><td class="name">{text(item.entity.name)}</td>'
        f"{''.join(f'<td>{text(said)}{_cited(diagnosis, *ids)}</td>' for said, ids in answers)}</tr>"
        for item, answers in found
    )
    head = _columns("candidate", "is it abnormal?", "what kind of fault?", "did it begin there?")
    return f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>'


def _breaches(diagnosis: Diagnosis) -> str:
    assert diagnosis.incident is not None
    facts = diagnosis.severity.facts if diagnosis.severity is not None else ()
    told = "".join(f"<li>{text(fact.text, 400)}{_cited(diagnosis, *fact.evidence)}</li>" for fact in facts)
    rows = "".join(
        f"<tr><td>{text(found.entry.name)}</td>"
        f"<td>{text(wording.breach(found))}{_cited(diagnosis, found.evidence)}</td>"
        f'<td class="n">{wording.moment(found.onset_ns, day=False)}</td>'
        f'<td class="n">{wording.hurt_requests(found)}</td>'
        f'<td class="n">{text(wording.significance(found))}</td></tr>'
        for found in diagnosis.incident.breaches
    )
    return (
        f'<div class="scroll"><table>{_columns("entry point", "what", "#since (UTC)", "#requests hurt", "#chance")}'
        f"<tbody>{rows}</tbody></table></div>" + (f'<ul class="plain">{told}</ul>' if told else "")
    )


def _ranking(diagnosis: Diagnosis) -> str:
    roots = {id(root) for root in wording.roots(diagnosis)} if diagnosis.abstained is None else set[int]()
    top = max((item.score for item in diagnosis.hypotheses), default=1.0)
    rows = [
        _ranking_row(rank, item, top, root=id(item) in roots) for rank, item in enumerate(diagnosis.hypotheses, start=1)
    ]
    head = _columns("rank", "entity", "level", "", "probability", "fault", "why")
    body = f'<div class="scroll"><table>{head}<tbody>{"".join(rows[:8])}</tbody></table></div>'
    if len(rows) > 8:
        rest = f'<div class="scroll"><table>{head}<tbody>{"".join(rows[8:40])}</tbody></table></div>'
        body += f"<details><summary>{len(rows) - 8} more</summary>{rest}</details>"
    return body


def _ranking_row(rank: int, item: Hypothesis, top: float, *, root: bool) -> str:
    share = item.probability if item.probability is not None else (item.score / top if top > 0 else 0.0)
    belief = (
        wording.percent(item.probability) if item.probability is not None else f"score {wording.number(item.score)}"
    )
    length = 90 * min(max(share, 0.0), 1.0)
    meter = (
        '<svg class="meter" width="90" height="8" aria-hidden="true"><rect width="90" height="8" rx="4"/>'
        f'<rect width="{length:.1f}" height="8" rx="4"/></svg>'
    )
    return (
        f'<tr id="rank-{rank}"{" class=root" if root else ""}><td class="n">{rank}</td>'
        f'<td class="name">{text(item.entity.name)}</td><td class=w>{text(wording.level(item.entity))}</td>'
        f'<td>{meter}</td><td class="n">{text(belief)}</td><td>{text(wording.fault(item)) or "–"}</td>'
        f'<td class="small muted">{text(item.reason, 300)}</td></tr>'
    )


def _chains(diagnosis: Diagnosis) -> str:
    return "".join(f"<p>{' → '.join(text(name) for name in chain)}</p>" for chain in wording.path(diagnosis)[:6])


def _graph(diagnosis: Diagnosis, shown: Exhibits) -> str:
    assert shown.graph is not None
    count = shown.graph.hidden
    hidden = f"{count} more, further away, {'is' if count == 1 else 'are'} not drawn. " if count else ""
    legend = (
        '<p class="legend"><span><i class="i-root"></i>root cause</span>'
        '<span><i class="i-hot"></i>way of the fault</span><span><i class="i-hurt"></i>users hurt here</span>'
        '<span><i class="i-call"></i>call, caller to callee</span></p>'
    )
    return (
        f'<p class="lead">{hidden}Callers stand left of what they call.</p>{legend}'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Call graph">{svg.call_graph(shown.graph)}</div>'
        + _chains(diagnosis)
    )


def _drawable(diagnosis: Diagnosis, shown: Exhibits) -> list[tuple[str, wording.Chart]]:
    """Title and chart of the broken SLIs and of the evidence that has a series."""
    charts = [(item.title, item.chart) for item in shown.timelines]
    for item in wording.decisive(diagnosis):
        if (found := wording.series(item)) is not None:
            charts.append((wording.claim(item), found))
    return charts


def _charts(diagnosis: Diagnosis, charts: list[tuple[str, wording.Chart]]) -> str:
    legend = (
        '<p class="legend"><span><i class="i-line"></i>signal</span><span><i class="i-band"></i>baseline, 5th to 95th'
        ' percentile</span><span><i class="i-shade"></i>incident</span></p>'
    )
    figures = "".join(
        f"<figure><figcaption>{text(title, 300)}</figcaption>{svg.chart(title, found, diagnosis.incident)}</figure>"
        for title, found in charts
    )
    return f'{legend}<div class="charts">{figures}</div>'


def _evidence(diagnosis: Diagnosis) -> str:
    items = sorted(diagnosis.evidence, key=lambda item: (-item.strength, item.id))
    rows = [_one(item) for item in items if item.query.kind != "detector"]
    hurt = [_one(item) for item in items if item.query.kind == "detector"]
    return (
        '<p class="lead">Each line carries the query behind it. <code>aetia recheck DIAGNOSIS.json SOURCE</code> runs'
        f" them again.</p>{_listed(rows)}" + (f"<h3>That users were hurt</h3>{_listed(hurt)}" if hurt else "")
    )


def _listed(rows: list[str]) -> str:
    body = f'<ul class="evidence">{"".join(rows[:12])}</ul>' if rows else ""
    if len(rows) > 12:
        body += (
            f'<details><summary>{len(rows) - 12} more</summary><ul class="evidence">{"".join(rows[12:])}</ul></details>'
        )
    return body


def _one(item: Evidence) -> str:
    against = ' <span class="against">against</span>' if item.polarity == "against" else ""
    moved = wording.comparison(item)
    arguments = ", ".join(f"{key}={value!r}" for key, value in sorted(item.query.args.items()))
    return (
        f'<li id="{text(item.id)}">{text(wording.claim(item), 400)}{against}'
        f'<div class="meta">{text(wording.level(item.about))} {text(item.about.name)}'
        f"{' · ' + text(moved) if moved else ''} · strength {item.strength:.2f} ·"
        f" <code>{text(item.query.channel)}({text(arguments, 240)})</code> · digest"
        f" <code>{text(item.digest)}</code></div></li>"
    )


def _traces(shown: Exhibits) -> str:
    longest = max(trace.duration_ns for trace in shown.traces)
    parts = [
        '<p class="lead">Both on one scale. Solid is the critical path: the time the request really waited.</p>'
        '<p class="legend"><span><i class="i-wait"></i>critical path</span>'
        '<span><i class="i-rest"></i>in its shadow</span>'
        '<span><i class="i-blame"></i>root cause</span><span>✕ error</span></p>'
    ]
    for trace in shown.traces:
        when = "in the incident" if trace.kind == "bad" else "in the baseline"
        errors = f", {trace.errors} span{'' if trace.errors == 1 else 's'} with an error" if trace.errors else ""
        hidden = f", {trace.hidden} short spans not drawn" if trace.hidden else ""
        parts.append(
            f"<h3>{trace.kind.capitalize()}: {wording.duration_ns(trace.duration_ns)} {when}"
            f' <span class="muted">{wording.moment(trace.start_ns)}{errors}{hidden}</span></h3>'
            f'<div class="scroll" tabindex="0" role="region" aria-label="{trace.kind} trace">'
            f"{svg.waterfall(trace, longest)}</div>"
        )
    return "".join(parts)


def _templates(templates: tuple[ChangedTemplate, ...]) -> str:
    rows = "".join(_template_row(item) for item in templates)
    return (
        f'<div class="scroll"><table>{_columns("", "template", "service", "severity", "#lines", "#expected")}'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _template_row(item: ChangedTemplate) -> str:
    tag = '<span class="tag new">appeared</span>' if item.appeared else '<span class="tag gone">vanished</span>'
    severity = _SEVERITIES[item.severity] if 0 <= item.severity < len(_SEVERITIES) else ""
    return (
        f"<tr><td>{tag}</td><td><code>{text(item.text, 300)}</code></td>"
        f"<td>{text(wording.joined(item.services, 3))}</td><td>{severity}</td>"
        f'<td class="n">{wording.number(item.count)}</td><td class="n">{wording.number(item.expected)}</td></tr>'
    )


def _limits(diagnosis: Diagnosis) -> str:
    parts: list[str] = []
    if diagnosis.abstained is None and diagnosis.missing:
        parts.append(f"<h3>What would make this surer</h3>{_list(diagnosis.missing)}")
    if diagnosis.dropped:
        parts.append(f"<h3>Dropped or mended</h3>{_list(wording.dropped(record) for record in diagnosis.dropped)}")
    if diagnosis.silent:
        silent = (f"{channel}: {reason}" for channel, reason in sorted(diagnosis.silent.items()))
        parts.append(f"<h3>Silent: kinds of evidence that had nothing to say</h3>{_list(silent)}")
    return "".join(parts)
