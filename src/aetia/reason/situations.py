"""The system around an incident as far as its telemetry tells: versions and neighbours of components.

A memory ends when the component that it blames has another version or other neighbours. Versions are those that
recorded deploys name; resource attributes of spans are left on disk on the way to a diagnosis. Cost: O(changes) and
O(edges).
"""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aetia.evidence.changes import AFTER_S
from aetia.model.diagnosis import Diagnosis
from aetia.model.journal import Situation
from aetia.model.window import NS_PER_SECOND
from aetia.reason.fingerprints import LONGEST_NAME, component, path_members, quoted
from aetia.signals.view import View

MOST_NAMES = 64
"""Names of components in the situation of a journal."""
_KEYS = ("service.version", "version", "container.image.tag", "image.tag", "tag")
_VERSION = re.compile(r"(?<![\w.])v?\d+(?:\.\d+)+(?:[-+][\w.+-]*\w)?(?![\w.]*\w)")
_ADDRESS = re.compile(r"\d+(?:\.\d+){3}")


def situation_of(view: View, system: str = "") -> Situation:
    """Neighbours of every service in the call graph of a view, and versions as of the onset where a deploy says one."""
    graph, names = view.topology, [quoted(name, LONGEST_NAME) for name in view.names.services]
    neighbours: dict[str, list[str]] = {}
    for caller, callee in zip(graph.caller.tolist(), graph.callee.tolist(), strict=True):
        if caller != callee:
            neighbours.setdefault(names[caller], []).append(f"calls {names[callee]}")
            neighbours.setdefault(names[callee], []).append(f"called by {names[caller]}")
    for code in np.flatnonzero(graph.external).tolist():
        neighbours.setdefault(names[code], [])
    return Situation(
        system=system, versions=versions_of(view),
        neighbours={name: tuple(sorted(found)) for name, found in neighbours.items()},
    )  # fmt: skip


def versions_of(view: View) -> dict[str, str]:
    """The version of each service that a deploy names, as of the onset of the incident."""
    table = view.facts.telemetry.changes
    if table.num_rows == 0:
        return {}
    until_ns = view.incident.start_ns + AFTER_S * NS_PER_SECOND
    rows = table.select(["kind", "service", "description", "attributes"]).to_pylist()
    times: list[int | None] = pc.cast(table["time"], pa.int64()).to_pylist()
    order = sorted((at, row["service"], version) for at, row in zip(times, rows, strict=True)
                   if at is not None and at <= until_ns and row["kind"] == "deploy" and row["service"]
                   and (version := _version(row["description"], row["attributes"])))  # fmt: skip
    return {quoted(service, LONGEST_NAME): version for _, service, version in order}


def told(situation: Situation, diagnosis: Diagnosis) -> Situation:
    """The part of a situation that a memory of a diagnosis can need, for a journal: the versions of leading candidates
    and of those on their paths, and the neighbours of the candidates. Of neighbours all are told or none, since a part
    of them would look like a change."""
    versions: dict[str, str] = {}
    neighbours: dict[str, tuple[str, ...]] = {}
    left = MOST_NAMES
    order = dict.fromkeys((*(at for at in diagnosis.roots if at < len(diagnosis.hypotheses)), 0, 1, 2))
    for hypothesis in (diagnosis.hypotheses[at] for at in order if at < len(diagnosis.hypotheses)):
        blamed = component(hypothesis.entity)
        near = situation.neighbours.get(blamed)
        if near is not None and blamed not in neighbours and 1 + len(near) <= left:
            neighbours[blamed] = near
            left -= 1 + len(near)
        for name in path_members(diagnosis, hypothesis):
            if name in situation.versions and name not in versions and left > 0:
                versions[name] = quoted(situation.versions[name])
                left -= 1
    return Situation(system=quoted(situation.system, LONGEST_NAME), versions=versions, neighbours=neighbours)


def joined(told: Situation | None, given: Situation | None) -> Situation:
    """What a journal and a caller know of the same system; the caller's word comes first."""
    one, other = told or Situation(), given or Situation()
    return Situation(
        system=other.system or one.system, versions={**one.versions, **other.versions},
        neighbours={**one.neighbours, **other.neighbours},
    )  # fmt: skip


def _version(description: str | None, attributes: str | None) -> str:
    """The version that a deploy names in its attributes, else the last one in its description, since that is the one
    it leads to; without the `v` in front."""
    try:
        held = msgspec.json.decode(attributes or "{}", type=dict[str, str | int | float | None], strict=False)
    except msgspec.DecodeError:
        held = {}
    found = next((str(held[key]) for key in _KEYS if held.get(key)), "")
    if not found:
        inside = [item for item in _VERSION.findall((description or "")[:1000]) if not _ADDRESS.fullmatch(item)]
        found = inside[-1] if inside else ""
    return quoted(found.removeprefix("v"), LONGEST_NAME)
