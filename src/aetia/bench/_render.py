"""Blocks of a leaderboard as Markdown, as one self-contained HTML page, or as console text."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from typing import NamedTuple

from aetia.bench.intervals import Estimate


class Heading(NamedTuple):
    level: int
    text: str


class Text(NamedTuple):
    text: str


class Table(NamedTuple):
    header: tuple[str, ...]
    rows: list[list[str]]


class Forest(NamedTuple):
    """Values with intervals on one 0..1 axis; only HTML draws it."""

    title: str
    bars: tuple[tuple[str, Estimate], ...]


Block = Heading | Text | Table | Forest
DASH = "–"


def value(estimate: Estimate | float | None) -> str:
    """Two decimals without a leading zero, as is usual for shares; a dash where there is nothing."""
    number = estimate.value if isinstance(estimate, Estimate) else estimate
    if number is None:
        return DASH
    text = f"{round(number, 2) + 0.0:.2f}"  # + 0.0: no minus sign before a zero
    return text.replace("0.", ".", 1) if abs(number) < 1 else text


def interval(estimate: Estimate) -> str:
    if estimate.value is None:
        return DASH
    return f"{value(estimate)} [{value(estimate.low)}, {value(estimate.high)}]"


def seconds_text(seconds: float | None) -> str:
    return DASH if seconds is None else f"{seconds:.3f}" if seconds < 1 else f"{seconds:.2f}"


def to_markdown(blocks: Sequence[Block]) -> str:
    parts: list[str] = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {block.text}")
        elif isinstance(block, Text):
            parts.append(block.text)
        elif isinstance(block, Table):
            lines = [block.header, ["---"] * len(block.header), *block.rows]
            parts.append("\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def to_text(blocks: Sequence[Block], width: int = 160) -> str:
    """Plain console text with box tables, at most `width` columns wide."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text as RichText

    console = Console(width=width, record=True, file=io.StringIO(), color_system=None)
    for block in blocks:
        if isinstance(block, Heading):
            console.print()
            console.print(RichText(block.text.upper() if block.level < 3 else block.text))
        elif isinstance(block, Text):
            console.print(RichText(block.text))
        elif isinstance(block, Table):
            table = RichTable(show_edge=False, pad_edge=False)
            for position, name in enumerate(block.header):
                table.add_column(RichText(name), justify="left" if position == 0 else "right", overflow="fold")
            for row in block.rows:
                table.add_row(*(RichText(cell) for cell in row))
            console.print(table)
    return console.export_text().lstrip("\n")


_STYLE = """
:root{color-scheme:light dark;--line:#8886;--bar:#3b7dd8;--dim:#8888}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1400px;padding:0 1rem}
table{border-collapse:collapse;margin:.6rem 0 1.2rem;display:block;overflow-x:auto}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap;
font-variant-numeric:tabular-nums}th{text-align:right;font-weight:600}
th:first-child,td:first-child{text-align:left}td.wide{white-space:normal;text-align:left;max-width:40rem}
h2{margin-top:2.4rem;border-bottom:2px solid var(--line)}svg text{font:12px system-ui,sans-
serif;fill:currentColor}
"""


def to_html(blocks: Sequence[Block], title: str) -> str:
    """One page without any outside reference."""
    body = "\n".join(_html_block(block) for block in blocks)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _html_block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{html.escape(block.text)}</p>"
    if isinstance(block, Forest):
        return _forest(block)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in block.header)
    rows = "".join("<tr>" + "".join(_html_cell(cell) for cell in row) + "</tr>" for row in block.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _html_cell(text: str) -> str:
    wide = ' class="wide"' if len(text) > 60 else ""
    return f"<td{wide}>{html.escape(text)}</td>"


_LEFT, _SCALE, _ROW = 150, 420, 20


def _forest(block: Forest) -> str:
    """Points with 95 % whiskers, one line per localizer."""
    known = [(name, e) for name, e in block.bars if e.value is not None and e.low is not None and e.high is not None]
    if not known:
        return ""
    bottom = _ROW * len(known) + 24
    parts = [f'<text x="0" y="12">{html.escape(block.title)}</text>']
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _LEFT + _SCALE * tick
        parts.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y1="18" y2="{bottom}" stroke="var(--dim)" stroke-width=".5"/>')
        parts.append(f'<text x="{x:.0f}" y="{bottom + 14}" text-anchor="middle">{tick:g}</text>')
    for position, (name, estimate) in enumerate(known):
        y = 32 + _ROW * position
        low, mid, high = (_LEFT + _SCALE * float(v or 0.0) for v in (estimate.low, estimate.value, estimate.high))
        parts.append(f'<text x="0" y="{y + 4}">{html.escape(name)}</text>')
        parts.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="var(--bar)" stroke-width="2"/>')
        parts.append(f'<circle cx="{mid:.1f}" cy="{y}" r="4" fill="var(--bar)"/>')
    size = f'width="{_LEFT + _SCALE + 30}" height="{bottom + 22}"'
    return f'<svg {size} role="img" aria-label="{html.escape(block.title)}">{"".join(parts)}</svg>'
