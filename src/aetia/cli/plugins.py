"""`aetia plugins`: what is installed, and why something is not available."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from aetia.cli.output import columns

if TYPE_CHECKING:
    from aetia.plugins import Plugin


def plugins(
    *, kind: str | None = None, json_output: Annotated[bool, Parameter(name="--json", negative=())] = False
) -> int:
    """List the algorithms that are installed, built-in and third-party.

    Parameters
    ----------
    kind:
        Only this kind: reader, detector, channel, localizer, …
    json_output:
        Print the list as JSON.
    """
    from aetia import plugins as registry
    from aetia.model.errors import UsageError

    if kind is not None and kind not in registry.KINDS:
        raise UsageError(f"there is no kind of plugin called '{kind}'; known: {', '.join(registry.KINDS)}.")
    found = sorted(
        (item for item in registry.all_plugins() if kind is None or item.kind in (kind, None)),
        key=lambda item: (registry.KINDS.index(item.kind) if item.kind else len(registry.KINDS), item.name),
    )
    if json_output:
        print(json.dumps([_row(item) for item in found], indent=2, ensure_ascii=False))
    else:
        _print(found)
    return 0


def _row(item: Plugin) -> dict[str, object]:
    fields = ("kind", "name", "summary", "needs", "source", "cost", "module", "unavailable")
    return {name: getattr(item, name) for name in fields}


def _print(found: Sequence[Plugin]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("kind", "name", "needs"):
        table.add_column(title, no_wrap=title != "needs")
    table.add_column("summary", overflow="fold")
    for item in found:
        row = _row(item)
        needs = row["needs"]
        assert isinstance(needs, tuple)
        why = f"unavailable: {row['unavailable']}" if row["unavailable"] else str(row["summary"])
        table.add_row(*(Text(text) for text in (str(row["kind"] or "–"), str(row["name"]), " ".join(needs), why)))
    Console(width=columns(), highlight=False).print(table)
