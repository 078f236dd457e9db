"""A postmortem as text, Markdown or one self-contained HTML page; evidence ids lead to the query behind them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import msgspec

from aetia.model.diagnosis import Evidence
from aetia.report import wording
from aetia.report.frame import frame
from aetia.report.markdown import escape
from aetia.report.postmortem import UNPROVEN, Postmortem, Sentence
from aetia.report.svg import text as shown

EVIDENCE = "Evidence"
LEGEND = (
    "E… is evidence, listed at the end with the query that measures it again; a line is one of the journal; "
    f"{UNPROVEN} is what nothing in the journal proves."
)


def to_text(found: Postmortem, *, width: int = 80) -> str:
    """Plain text, no line longer than `width` columns unless a single word is."""
    lines = [*textwrap.wrap(found.title, width), "", *textwrap.wrap(LEGEND, width)]
    for section in found.sections:
        lines += ["", section.title, "─" * min(width, len(section.title))]
        for sentence in section.sentences:
            lines += _wrapped(f"{sentence.text} [{', '.join(sentence.links)}]", width)
    if found.evidence:
        lines += ["", EVIDENCE, "─" * len(EVIDENCE)]
        for item in found.evidence.values():
            lines += _wrapped(f"{item.id}: {wording.claim(item)} [{_query(item)}; digest {item.digest}]", width)
    return "\n".join(lines) + "\n"


def to_markdown(found: Postmortem) -> str:
    """GitHub-flavoured Markdown; words of the telemetry can neither format nor inject."""
    return "\n".join(_markdown(found)) + "\n"


def _markdown(found: Postmortem) -> Iterator[str]:
    yield f"# {escape(found.title)}"
    yield f"\n{escape(LEGEND)}"
    for section in found.sections:
        yield f"\n## {section.title}\n"
        for sentence in section.sentences:
            ids = [f"[{escape(item)}](#{item.lower()})" for item in sentence.evidence]
            rest = sentence.links[len(sentence.evidence) :]
            marks = ", ".join([*ids, *(f"**{item}**" if item == UNPROVEN else item for item in rest)])
            yield f"- {escape(sentence.text, 600)} ({marks})"
    if found.evidence:
        yield f"\n## {EVIDENCE}"
    for item in found.evidence.values():
        yield f"\n### {escape(item.id)}\n"
        yield f"{escape(wording.claim(item))} ({escape(_query(item), 600)}; digest {escape(item.digest)})"


def to_html(found: Postmortem) -> str:
    """One page without script and without requests, in the style of the diagnosis."""
    sections = [(item.key, item.title, _items(item.sentences)) for item in found.sections]
    if found.evidence:
        rows = "".join(
            f'<li id="{shown(item.id)}">{shown(wording.claim(item), 400)}<div class="meta">{shown(item.id)} · '
            f"<code>{shown(_query(item), 600)}</code> · digest {shown(item.digest)}</div></li>"
            for item in found.evidence.values()
        )
        sections.append(("evidence", EVIDENCE, f'<ul class="evidence">{rows}</ul>'))
    body = "".join(f'<section id="{key}"><h2>{title}</h2>{inner}</section>' for key, title, inner in sections)
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in sections)
    return frame(
        found.title,
        f'<header><p class="brand">AETIA · POSTMORTEM</p><h1>{shown(found.title, 400)}</h1>'
        f'<p class="lead">{shown(LEGEND, 400)}</p><nav aria-label="Sections">{links}</nav></header>'
        f'<main id="main">{body}</main>',
    )


def _items(sentences: tuple[Sentence, ...]) -> str:
    return f'<ul class="plain">{"".join(f"<li>{_item(sentence)}</li>" for sentence in sentences)}</ul>'


def _item(sentence: Sentence) -> str:
    marks = [f'<a href="#{shown(item)}">{shown(item)}</a>' for item in sentence.evidence]
    rest = sentence.links[len(sentence.evidence) :]
    marks += [f"<strong>{item}</strong>" if item == UNPROVEN else shown(item) for item in rest]
    return f'{shown(sentence.text, 600)} <span class="muted small">{", ".join(marks)}</span>'


def _query(item: Evidence) -> str:
    args = msgspec.json.encode(item.query.args, enc_hook=str).decode()
    return wording.plain(f"{item.query.channel} {args}", 500)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent="• ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )  # fmt: skip
