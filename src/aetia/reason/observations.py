"""What a learned policy sees: for every action a row of numbers, the same columns in every investigation.

No name of a service, a tool's text or a case is in it, so what was learned in one system can be used in another.
`FEATURES` names each column with its range and its meaning. Beliefs come in log-odds over those of the ledger's bounds,
distances and ranks as 1 / (1 + n), numbers of things as a share of a cap, so that all columns lie within -1 and 1. What
nothing is known of is 0. Columns `about.*` say something of the place that an action is about and are 0 for actions
without one; `desk.*` are the same for all actions. Some columns are repeated for some actions alone, so that even a
linear scorer can tell when to end (`ending.*`), and ask hops where blame is open and metrics of who is believed
(`hop.*`, `metrics.*` and so on).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from aetia.model.diagnosis import Evidence
from aetia.model.journal import ToolCall
from aetia.reason._llm_board import place_of
from aetia.reason.actions import FORMS, MODALITY, SCHEMA, Action, Modality, Place, Survey, actions, survey
from aetia.reason.hops import HopSeen
from aetia.reason.ledger import MOST, Entry
from aetia.reason.policy import Desk

F64 = npt.NDArray[np.float64]
SHARE, SIGNED, FLAG = "0..1", "-1..1", "0 or 1"
WIDEST = math.log(MOST / (1.0 - MOST))
"""Log-odds of the most that a ledger believes."""
READ: tuple[Modality, ...] = ("traces", "metrics", "logs", "changes")
KNOWN = (*READ, "prior")
"""Where evidence may come from: tools by what they read, and the localizer."""
CAPS = {
    "evidence": 4,
    "asked": 64,
    "candidates": 20,
    "warnings": 5,
    "entries": 5,
    "neighbours": 8,
    "empty": 4,
    "quiet": 8,
}
"""How many of a thing make a full 1."""


class Feature(NamedTuple):
    """One column: its name, its range, and what it says."""

    name: str
    range: str
    says: str


_FORM = (
    *(Feature(f"form.{form.name}", FLAG, f"it asks {form.tool}: {form.why}") for form in FORMS),
    Feature("form.finish", FLAG, "it ends with what is believed"),
    Feature("form.abstain", FLAG, "it ends with the word that the evidence names nobody"),
)
_ABOUT = (
    Feature("about.place", FLAG, "it is about a place or a call"),
    Feature("about.candidate", FLAG, "the place is a candidate"),
    Feature("about.belief", SHARE, "what is believed of it"),
    Feature("about.odds", SIGNED, "the same in log-odds, over the most there are"),
    Feature("about.prior", SHARE, "what the localizer believed of it"),
    Feature("about.moved", SIGNED, "how far its belief has moved, log-odds over twice the most"),
    Feature("about.rank", SHARE, "1 / (1 + its rank now)"),
    Feature("about.prior_rank", SHARE, "1 / (1 + its rank in the prior)"),
    Feature("about.leader", FLAG, "it leads"),
    Feature("about.runner_up", FLAG, "it is second"),
    Feature("about.node", FLAG, "it is a node"),
    Feature("about.external", FLAG, "it is an external dependency"),
    Feature("about.entry", SHARE, "its share of the hurt requests, as a broken entry"),
    Feature("about.depth", SHARE, "1 / (1 + calls from the nearest broken entry down to it)"),
    Feature("about.from_leader", SHARE, "1 / (1 + calls between it and the leader)"),
    Feature("about.callers", SHARE, f"known callers, of {CAPS['neighbours']}"),
    Feature("about.callees", SHARE, f"known callees, of {CAPS['neighbours']}"),
    Feature("about.blame", SHARE, "share of the users' trouble that came to rest at it, as far as hops were asked"),
    Feature("about.open", SHARE, "the same, while hops were not asked of it"),
    Feature("about.passed", SHARE, "share of the leader's trouble that came to rest at it"),
    Feature("about.sick", SHARE, "how much more of its requests than usual went wrong"),
    Feature("about.own", SHARE, "share of its trouble that no call accounts for"),
    Feature("about.wished", FLAG, "a person wants it looked at"),
    Feature("about.asked", SHARE, "share of the ways to ask about it that were used"),
    *(Feature(f"about.asked.{what}", FLAG, f"{what} of it were asked") for what in (*READ, "structure")),
    Feature("about.empty", SHARE, f"answers about it without evidence, of {CAPS['empty']}"),
    *(Feature(f"about.for.{what}", SHARE, f"pieces of evidence for it from {what}, of {CAPS['evidence']}")
      for what in KNOWN),
    *(Feature(f"about.against.{what}", SHARE, f"pieces of evidence against it from {what}, of {CAPS['evidence']}")
      for what in KNOWN),
    Feature("about.strongest_for", SHARE, "strength of the strongest evidence for it that a tool found"),
    Feature("about.strongest_against", SHARE, "strength of the strongest evidence against it that a tool found"),
)  # fmt: skip
_CALL = (
    Feature("call.accounts", SHARE, "share of the caller's trouble that the callee accounts for"),
    Feature("call.complains", FLAG, "the caller complains of the callee"),
    Feature("call.caller_odds", SIGNED, "log-odds of the caller, over the most there are"),
    Feature("call.caller_blame", SHARE, "share of the users' trouble that came to rest at the caller"),
)
GROUPS = ("hop", *READ, "structure")
"""Forms that are alike: hops, and the others by what they read."""
_TOLD = ("odds", "rank", "open")
_CROSS = tuple(
    Feature(f"{group}.{told}", SIGNED if told == "odds" else SHARE, f"about.{told}, for questions of the group {group}")
    for group in GROUPS for told in _TOLD
)  # fmt: skip
_DESK = (
    Feature("calls_left", SHARE, "share of the calls that is left"),
    Feature("time_left", SHARE, "share of the deadline that is left"),
    Feature("tokens_left", SHARE, "share of the tokens that is left"),
    Feature("asked", SHARE, f"questions so far, of {CAPS['asked']}"),
    Feature("candidates", SHARE, f"candidates, of {CAPS['candidates']}"),
    Feature("leader", SHARE, "belief in the leader"),
    Feature("leader_odds", SIGNED, "the same in log-odds, over the most there are"),
    Feature("second", SHARE, "belief in the second"),
    Feature("margin", SIGNED, "log-odds of the leader less those of the second, over twice the most"),
    Feature("doubt", SHARE, "entropy of the beliefs over that of equal ones"),
    Feature("overtaken", FLAG, "another one leads than in the prior"),
    Feature("leader_asked", SHARE, "share of the ways to ask about the leader that were used"),
    Feature("second_asked", SHARE, "the same of the second"),
    Feature("open_blame", SHARE, "share of the users' trouble at places of which hops were not asked"),
    Feature("leader_blame", SHARE, "share of the users' trouble that came to rest at the leader"),
    Feature("passed_on", SHARE, "largest share of the leader's trouble that came to rest elsewhere"),
    Feature("quiet", SHARE, f"questions in a row that moved no belief, of {CAPS['quiet']}"),
    Feature("warnings", SHARE, f"warnings of the checks, of {CAPS['warnings']}"),
    Feature("entries", SHARE, f"services whose SLI broke, of {CAPS['entries']}"),
    *(Feature(f"broken.{sli}", FLAG, f"the {sli} of an entry broke") for sli in ("latency", "success", "throughput")),
    *(Feature(f"none.{what}", FLAG, f"the last question to {what} met no data") for what in READ),
    Feature("wished", FLAG, "a person wants something looked at"),
)
FEATURES: tuple[Feature, ...] = (
    *_FORM, *_ABOUT, *_CALL, *_CROSS, *(item._replace(name=f"desk.{item.name}") for item in _DESK),
    *(Feature(f"ending.{item.name}", item.range, f"for actions that end: {item.says}") for item in _DESK),
)  # fmt: skip
"""All columns, in their order."""
NAMES: tuple[str, ...] = tuple(item.name for item in FEATURES)
_AT = {name: at for at, name in enumerate(NAMES)}
_GROUP = {form.name: "hop" if form.name == "hop" else form.modality for form in FORMS}
_TOLD_AT = [_AT[f"about.{told}"] for told in _TOLD]
_CROSS_AT = {group: [_AT[f"{group}.{told}"] for told in _TOLD] for group in GROUPS}
_ABOUT_AT, _CALL_AT, _DESK_AT, _ENDING_AT = (
    slice(len(_FORM), len(_FORM) + len(_ABOUT)),
    slice(len(_FORM) + len(_ABOUT), len(_FORM) + len(_ABOUT) + len(_CALL)),
    slice(len(FEATURES) - 2 * len(_DESK), len(FEATURES) - len(_DESK)),
    slice(len(FEATURES) - len(_DESK), len(FEATURES)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The actions at one step and their features: `values` has the shape (actions, features); nobody may write to it.
    `schema` is the version of both, `names` those of the columns."""

    actions: tuple[Action, ...]
    values: F64
    schema: str = SCHEMA
    names: tuple[str, ...] = NAMES


def observe(desk: Desk) -> Observation:
    """What can be done next at a desk, and what is known of it. Cost: O(answers so far + actions × features)."""
    known = survey(desk)
    return _Observer(desk, known).observation(actions(desk, known))


class _Observer:
    """Everything about one desk that several rows need."""

    def __init__(self, desk: Desk, known: Survey) -> None:
        self._desk, self._known = desk, known
        self._ranked = [item for item in desk.ledger.ranked() if item[0] not in desk.excluded]
        self._rank = {name: at for at, (name, _) in enumerate(self._ranked)}
        said = [item.entity.name for item in desk.prior.hypotheses]
        self._prior_rank = {name: at for at, name in reversed(list(enumerate(said)))}
        self._depth = _distances(known.calls, known.entries)
        self._callers = Counter(callee for callees in known.calls.values() for callee in callees)
        leader = {place_of(self._ranked[0][1].entity)} if self._ranked else set[str]()
        both = {name: set(callees) for name, callees in known.calls.items()}
        for caller, callees in known.calls.items():
            for callee in callees:
                both.setdefault(callee, set()).add(caller)
        self._from_leader = _distances(both, dict.fromkeys(leader, 1.0))
        self._wished = {place_of(desk.ledger.entries[name].entity) if name in desk.ledger.entries else name
                        for name in desk.wished}  # fmt: skip
        self._asked, self._empty = _questions(desk)
        self._evidence = _evidence(desk)
        self._hops: dict[tuple[str, str], HopSeen] = {
            (hop.target, hop.source): hop for one in known.walk.known.values() for hop in one.hops
        }

    def observation(self, listed: tuple[Action, ...]) -> Observation:
        values = np.zeros((len(listed), len(FEATURES)))
        values[:, _DESK_AT] = self._of_desk()
        places = {place.name: place for place in self._known.places}
        about: dict[str, list[float]] = {}
        for row, action in enumerate(listed):
            values[row, _AT[f"form.{action.form or action.kind}"]] = 1.0
            if action.kind != "ask":
                values[row, _ENDING_AT] = values[row, _DESK_AT]
            if action.place:
                if action.place not in about:
                    place = places.get(action.place) or Place(name=action.place, level="service")
                    about[action.place] = self._of_place(place)
                values[row, _ABOUT_AT] = about[action.place]
                values[row, _CROSS_AT[_GROUP[action.form]]] = values[row, _TOLD_AT]
            if action.caller:
                values[row, _CALL_AT] = self._of_call(action.caller, action.place, places)
        values.flags.writeable = False
        return Observation(actions=listed, values=values)

    def _of_place(self, place: Place) -> list[float]:
        name, known = place.name, self._known
        entry = self._desk.ledger.entries.get(place.candidate) if place.candidate is not None else None
        rank = self._rank.get(place.candidate or "")
        asked, seen = self._asked.get(name, Counter()), known.walk.known.get(name)
        blame, hopped = known.blame.get(name, 0.0), name in known.walk.answers
        counts, strongest = self._evidence.get(name, (Counter(), {"for": 0.0, "against": 0.0}))
        return [
            1.0, float(entry is not None),
            entry.belief if entry is not None else 0.0, _odds(entry), entry.prior if entry is not None else 0.0,
            (_odds(entry) - _log_odds(entry.prior)) / 2 if entry is not None else 0.0,
            _near(rank), _near(self._prior_rank.get(place.candidate or "")), float(rank == 0), float(rank == 1),
            float(place.level == "node"), float(place.level == "external"),
            known.entries.get(name, 0.0), _near(self._depth.get(name)), _near(self._from_leader.get(name)),
            _of("neighbours", self._callers[name]), _of("neighbours", len(known.calls.get(name, ()))),
            blame, 0.0 if hopped else blame, known.passed.get(name, 0.0),
            min(seen.sick, 1.0) if seen is not None else 0.0, min(seen.own or 0.0, 1.0) if seen is not None else 0.0,
            float(name in self._wished),
            min(sum(asked.values()) / WAYS, 1.0), *(float(asked[what] > 0) for what in (*READ, "structure")),
            _of("empty", self._empty[name]),
            *(_of("evidence", counts[side, what]) for side in ("for", "against") for what in KNOWN),
            strongest["for"], strongest["against"],
        ]  # fmt: skip

    def _of_call(self, caller: str, callee: str, places: Mapping[str, Place]) -> list[float]:
        hop = self._hops.get((caller, callee))
        place = places.get(caller)
        entry = self._desk.ledger.entries.get(place.candidate or "") if place is not None else None
        return [
            min(hop.accounts, 1.0) if hop is not None else 0.0,
            float(hop is not None and hop.complaints > 0),
            _odds(entry), self._known.blame.get(caller, 0.0),
        ]  # fmt: skip

    def _of_desk(self) -> list[float]:
        desk, known = self._desk, self._known
        first, second = (self._ranked[at][1] if len(self._ranked) > at else None for at in (0, 1))
        names = [place_of(entry.entity) if entry is not None else "" for entry in (first, second)]
        hypotheses, limits, spent = desk.prior.hypotheses, desk.limits, desk.spent
        incident = desk.prior.incident
        broken = {breach.sli for breach in (incident.breaches if incident is not None else ())}
        elsewhere = [share for name, share in known.passed.items() if name != names[0]]
        return [
            _left(spent.calls, limits.max_calls), _left(spent.at_s, limits.deadline_s),
            _left(spent.tokens, limits.max_tokens),
            _of("asked", len(desk.answered)), _of("candidates", len(self._ranked)),
            first.belief if first is not None else 0.0, _odds(first), second.belief if second is not None else 0.0,
            (_odds(first) - _odds(second)) / 2 if second is not None else (_odds(first) + 1.0) / 2,
            _doubt([entry.belief for _, entry in self._ranked]),
            float(bool(self._ranked and hypotheses) and self._ranked[0][0] != hypotheses[0].entity.name),
            *(min(sum(self._asked.get(name, Counter()).values()) / WAYS, 1.0) for name in names),
            min(sum(s for name, s in known.blame.items() if name not in known.walk.answers), 1.0),
            known.blame.get(names[0], 0.0), max(elsewhere, default=0.0),
            _of("quiet", _quiet(desk)), _of("warnings", len(desk.warnings)), _of("entries", len(known.entries)),
            *(float(sli in broken) for sli in ("latency", "success", "throughput")),
            *(float(what in _without_data(desk)) for what in READ), float(bool(desk.wished)),
        ]  # fmt: skip


WAYS = sum("service" in form.about for form in FORMS if form.about != "all")
"""Ways to ask about one service."""


def _about(call: ToolCall) -> str:
    """The place that a question is about; "" for one about everything."""
    for key in ("callee", "source", "target", "service", "component"):
        value = call.args.get(key)
        if isinstance(value, str) and value:
            return value
    return ""


def _modality(call: ToolCall) -> str:
    return MODALITY.get(call.tool, "structure")


def _questions(desk: Desk) -> tuple[dict[str, Counter[str]], Counter[str]]:
    """Per place the number of questions by modality, and of answers without evidence."""
    asked: dict[str, Counter[str]] = {}
    empty: Counter[str] = Counter()
    for call, answer in desk.answered:
        place = _about(call)
        asked.setdefault(place, Counter())[_modality(call)] += 1
        empty[place] += answer.evidence is None
    return asked, empty


def _evidence(desk: Desk) -> dict[str, tuple[Counter[tuple[str, str]], dict[str, float]]]:
    """Per place the number of facts by polarity and origin, and the strongest of the tools by polarity."""
    found: dict[str, tuple[Counter[tuple[str, str]], dict[str, float]]] = {}
    given = {item.id for item in desk.prior.evidence}
    for item in desk.evidence.values():
        counts, strongest = found.setdefault(place_of(item.about), (Counter(), {"for": 0.0, "against": 0.0}))
        counts[item.polarity, _origin(item, given)] += 1
        if item.id not in given:
            strongest[item.polarity] = max(strongest[item.polarity], item.strength)
    return found


def _origin(item: Evidence, given: set[str]) -> str:
    return "prior" if item.id in given else MODALITY.get(item.query.channel, "structure")


def _quiet(desk: Desk) -> int:
    """How many of the last answers gave no evidence that moved a belief."""
    moved = {key for entry in desk.ledger.entries.values() for key in (*entry.evidence_for, *entry.against)}
    count = 0
    for _, answer in reversed(desk.answered):
        if answer.evidence is not None and answer.evidence.id in moved:
            break
        count += 1
    return count


def _without_data(desk: Desk) -> set[str]:
    """Modalities whose last question met no data at all."""
    last = {_modality(call): answer for call, answer in desk.answered}
    return {what for what, answer in last.items() if answer.error is not None and answer.error.category == "permanent"}


def _distances(calls: Mapping[str, set[str]], starts: Mapping[str, float]) -> dict[str, int]:
    """Calls from the nearest start, breadth first."""
    found = dict.fromkeys(starts, 0)
    level = list(starts)
    while level:
        following = [name for at in level for name in calls.get(at, ()) if name not in found]
        found.update((name, found[at] + 1) for at in level for name in calls.get(at, ()) if name not in found)
        level = list(dict.fromkeys(following))
    return found


def _doubt(beliefs: list[float]) -> float:
    total = math.fsum(beliefs)
    shares = [belief / total for belief in beliefs if belief > 0]
    if len(shares) < 2:
        return 0.0
    return min(max(-math.fsum(share * math.log(share) for share in shares) / math.log(len(shares)), 0.0), 1.0)


def _near(distance: int | None) -> float:
    return 0.0 if distance is None else 1.0 / (1.0 + distance)


def _left(spent: float, most: float) -> float:
    return min(max(1.0 - spent / most, 0.0), 1.0) if most > 0 else 0.0


def _of(what: str, count: int) -> float:
    return min(count / CAPS[what], 1.0)


def _log_odds(belief: float) -> float:
    return min(max(math.log(belief / (1.0 - belief)) / WIDEST, -1.0), 1.0)


def _odds(entry: Entry | None) -> float:
    return _log_odds(entry.belief) if entry is not None else 0.0
