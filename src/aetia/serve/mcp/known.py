"""Names that exist, for a question that found nothing because its name is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aetia.serve.mcp.values import window_said
from aetia.serve.problems import Refused

if TYPE_CHECKING:
    from aetia.model.window import Window
    from aetia.serve.mcp.tools import Names
    from aetia.serve.state import ServeState

MOST = 5000


def services(state: ServeState, window: Window, name: str) -> Sequence[str]:
    """With spans or metrics in the window, or log lines."""
    found = {row.service for row in state.backend.services(window, MOST)}
    if name not in found:
        found.update(*(row.services for row in state.backend.metric_names(window, limit=MOST)))
        whole = window.end_ns - window.start_ns
        found |= {row.service for row in state.backend.shapes(window, whole, limit=MOST).rows if row.service}
    return sorted(found)


def operations(state: ServeState, window: Window, name: str) -> Sequence[str]:
    return sorted({row.name for row in state.backend.operations(window, None, MOST)})


def metrics(state: ServeState, window: Window, name: str) -> Sequence[str]:
    return [row.name for row in state.backend.metric_names(window, limit=MOST)]


def check(state: ServeState, window: Window, asked: Mapping[str, Any], known: Mapping[str, Names]) -> None:
    """Raise Refused (404) with the nearest names for the first argument that names nothing."""
    from aetia.reason.toolbox import nearest, said

    for argument, names in known.items():
        name = asked.get(argument)
        if not isinstance(name, str):
            continue
        held = names(state, window, name)
        if name in held:
            continue
        near = nearest(name, held)
        span = window_said(window)
        mend = f"{argument}={near[0]}" if near else "a longer window, or services with view stored for what there is"
        others = f" (also near: {', '.join(said(item) for item in near[1:])})" if near[1:] else ""
        raise Refused(
            "not_found", f"nothing of the window has the {argument} '{said(name)}'.",
            searched=f"{len(held)} names from {span['start']} to {span['end']}", try_=mend + others,
        )  # fmt: skip


def incident(state: ServeState, asked: str) -> Refused:
    """The error for an incident that is not there, with the nearest that are."""
    from aetia.reason.toolbox import nearest

    ids = [record.id for record in state.incidents().all()]
    near = nearest(asked, ids)
    return Refused(
        "not_found", f"no incident is called '{asked[:80]}'.", searched=f"{len(ids)} incidents",
        try_=f"incident_id={near[0]}" if near else "incidents lists them",
    )  # fmt: skip
