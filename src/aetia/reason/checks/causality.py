"""Checks of cause and effect: RF-04, RF-05, RF-06 and RF-14, as far as they can be checked without a judge.

Source: arXiv 2601.22208, section 7 of the agents survey. Cost per event: O(hops + cited evidence), O(text) for a model.
"""

from __future__ import annotations

import re
from typing import Any, cast

from aetia.model.journal import Answered, Asked, Believed, Event, ModelAnswer, ToolCall, Traced
from aetia.reason.checks._notes import FINISH, about, held, lowered, names_of, raised
from aetia.reason.checks._watch import Failing, Watch
from aetia.reason.checks._words import joined
from aetia.reason.hops import CLOCK_ERROR_S, STEPS_OFF
from aetia.reason.policy import Desk

TOLERANCE_NS = 60_000_000_000
"""Onsets of one channel that are closer are simultaneous: metrics usually come once a minute."""


_LOOKED = re.compile(r"\b(?:of|all|in) [1-9]\d*\b")
"""A claim that says how many things were looked at: nothing stood out among them, which is an observation."""


class TemporalMisordering(Watch):
    """RF-04: a cause that comes after its effect: a hop that is said to be in time against the onsets in the evidence,
    or a belief that rises though every hop from its candidate was seen to come too late."""

    code, title = "RF-04", "temporal misordering"

    def find(self, event: Event, desk: Desk) -> Failing | None:
        if isinstance(event, Traced) and event.in_time:
            late = self._observed(event, desk) if event.evidence in desk.evidence else self._later(event, desk)
            if late is not None:
                return Failing(
                    "root", f"{event.source} began {late:.0f} s after {event.target}, which it is to have caused."
                )
        if isinstance(event, Believed) and raised(event) and event.state in ("supported", "verified"):
            hops = [hop for hop in desk.hops if hop.source == event.entity and hop.in_time is not None]
            if hops and not any(hop.in_time for hop in hops):
                return Failing(
                    "root", f"{event.entity} began after {hops[0].target}; a cause does not follow its effect."
                )
        return None

    def _observed(self, hop: Traced, desk: Desk) -> float | None:
        """Seconds by which the source began later in what the hop cites, beyond the error of its clocks and steps."""
        rows = desk.evidence[hop.evidence].result.get("rows") if hop.evidence is not None else None
        for row in cast("list[Any]", rows) if isinstance(rows, list) else []:
            item = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
            if (item.get("source"), item.get("target")) != (hop.source, hop.target):
                continue
            began, then, step = (item.get(key) for key in ("source_began_s", "target_began_s", "step_s"))
            if isinstance(began, int | float) and isinstance(then, int | float):
                slack = CLOCK_ERROR_S + STEPS_OFF * step if isinstance(step, int | float) else TOLERANCE_NS / 1e9
                return began - then if began - then > slack else None
        return None

    def _later(self, hop: Traced, desk: Desk) -> float | None:
        """Seconds by which the source's onset follows the target's in every channel that has both; None otherwise."""
        onsets: tuple[dict[str, int], dict[str, int]] = ({}, {})
        for item in desk.evidence.values():
            if item.polarity != "for" or item.claim.onset_ns is None:
                continue
            for side, name in zip(onsets, (hop.source, hop.target), strict=True):
                if name in names_of(item.about):
                    at = min(side.get(item.query.channel, item.claim.onset_ns), item.claim.onset_ns)
                    side[item.query.channel] = at
        gaps = [onsets[0][name] - onsets[1][name] for name in onsets[0] if name in onsets[1]]
        return min(gaps) / 1e9 if gaps and min(gaps) > TOLERANCE_NS else None


class SpuriousEdge(Watch):
    """RF-05: a propagation over an edge that the call graph does not have."""

    code, title = "RF-05", "spurious edge"

    def find(self, event: Event, desk: Desk) -> Failing | None:
        if isinstance(event, Traced) and event.in_direction is not False:
            return self._judge("root", event.source, event.target, desk)
        if isinstance(event, Answered) and isinstance(event.answer, ModelAnswer):
            for one, other in joined(event.answer.text, self.notes.names):
                failing = self._judge(self.notes.agent(event), one, other, desk)
                if failing is not None:
                    return failing
        return None

    def _judge(self, agent: str, source: str, target: str, desk: Desk) -> Failing | None:
        if not (self._placed(source, desk) and self._placed(target, desk)):
            return None
        if source != target and self.notes.joined(source, target) is not False:
            return None
        return Failing(agent, f"nothing joins {source} and {target}: neither calls the other, and no host is theirs.")

    def _placed(self, name: str, desk: Desk) -> bool:
        """Whether the name is one that the call graph has if it exists: a service or a host, and no finer place."""
        entry = desk.ledger.entries.get(name)
        return self.notes.in_graph(name) or (entry is not None and entry.entity.level == "service")


class UnjustifiedInstance(Watch):
    """RF-06: names one instance though no evidence tells it from its peers."""

    code, title = "RF-06", "unjustified instance"

    def find(self, event: Event, desk: Desk) -> Failing | None:
        if isinstance(event, Asked) and isinstance(event.request, ToolCall) and event.request.tool == FINISH:
            name = event.request.args.get("instance")
            return self._judge(event.request.agent, name, desk) if isinstance(name, str) and name else None
        if isinstance(event, Believed) and raised(event) and event.state in ("supported", "verified"):
            entry = desk.ledger.entries.get(event.entity)
            if entry is not None and entry.entity.level == "instance" and entry.entity.instance is not None:
                return self._judge("root", entry.entity.instance, desk)
        return None

    def _judge(self, agent: str, name: str, desk: Desk) -> Failing | None:
        # The prior names an instance only where it differs from its peers.
        prior = any(hypothesis.entity.instance == name for hypothesis in desk.prior.hypotheses)
        if prior or any(item.about.instance == name and item.polarity == "for" for item in desk.evidence.values()):
            return None
        return Failing(
            agent, f"no evidence is about instance {name} alone; name the service, or compare its instances."
        )


class InvalidInference(Watch):
    """RF-14: what can be checked of it: a candidate is refuted because there is no telemetry that could show it."""

    code, title = "RF-14", "invalid inference"

    def find(self, event: Event, desk: Desk) -> Failing | None:
        if not isinstance(event, Believed) or not event.because or not (lowered(event) or event.state == "refuted"):
            return None
        items = held(event.because, desk)
        entry = desk.ledger.entries.get(event.entity)
        names = names_of(entry.entity) if entry is not None else (event.entity,)
        if not items or any(name in self.notes.measured for name in names):
            return None
        if all(about(item, event.entity, desk) and empty(item.result) and not _LOOKED.search(item.claim.text)
               for item in items):  # fmt: skip
            return Failing("root", f"nothing was recorded of {event.entity}; absence of telemetry refutes nobody.")
        return None


def empty(result: object) -> bool:
    """Whether a result holds neither a number other than zero nor a text."""
    if isinstance(result, dict):
        return all(empty(item) for item in result.values())
    if isinstance(result, list | tuple):
        return all(empty(item) for item in result)
    return not result
