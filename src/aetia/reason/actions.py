"""What can be done next in an investigation: a finite list of actions, made from the desk alone.

An action asks one tool about one place, about one call between two places, or about the whole system; or it ends the
investigation. Only questions are listed that were not asked yet and whose arguments the desk knows: candidates of the
ledger, broken entries, and what answers named. No action moves a belief; what an answer is worth is decided by code.

The list depends on what happened and not on how things are called: places come most believed first, then by how much
blame came to rest there, and by name only among equals. Source: action spaces of ThinkFL (arXiv 2504.18776), which
asks `search_traces`, `search_fluctuating_metrics` or ends; here over all tools, without invented arguments.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import msgspec

from aetia.evidence.changes import BEFORE_S
from aetia.model.journal import ToolAnswer, ToolCall
from aetia.reason._llm_board import place_of
from aetia.reason.blame import Symptom, explain
from aetia.reason.hops import seen
from aetia.reason.policy import Desk, key_of
from aetia.reason.way import LEAST_REACH, USERS, WRONG, Walk, hurt

SCHEMA = "aetia.actions/1"
"""Version of the forms and features; it changes when any of them does."""
MOST_PLACES, MOST_EDGES, FIRST = 24, 24, 8
"""Places and calls that are offered at once, and candidates that come before all other places."""

Kind = Literal["ask", "finish", "abstain"]
Modality = Literal["traces", "metrics", "logs", "changes", "structure"]
Level = Literal["service", "node", "external"]
PLACE, CALLER, CALLEE = "@place", "@caller", "@callee"


class Form(NamedTuple):
    """One way to ask: a tool with arguments in which a place, or both ends of a call, is filled in."""

    name: str
    tool: str
    modality: Modality
    about: tuple[Level, ...] | Literal["call", "all"]
    args: Mapping[str, str]
    why: str


SERVICE: tuple[Level, ...] = ("service",)
FORMS: tuple[Form, ...] = (
    Form("hop", "hop", "traces", SERVICE, {"target": PLACE}, "where did its trouble come from?"),
    Form("self_time", "span_self_time", "traces", SERVICE, {"service": PLACE}, "did time or failures begin in it?"),
    Form("slowest", "trace_children", "traces", SERVICE, {"service": PLACE}, "what did its slowest request wait for?"),
    Form("failed", "trace_children", "traces", SERVICE, {"service": PLACE, "which": "failed"},
         "what failed below its slowest failed request?"),
    Form("before", "compare", "traces", ("service", "node"), {"component": PLACE}, "is it worse than it was?"),
    Form("peers", "compare", "traces", ("service", "node"), {"component": PLACE, "against": "peers"},
         "is it worse than those like it?"),
    Form("instances", "compare", "traces", ("service", "node"), {"component": PLACE, "against": "instances"},
         "is one of its instances worse than the others?"),
    Form("before_failure", "before_failure", "traces", SERVICE, {"service": PLACE},
         "did a call come back too soon before it failed?"),
    Form("workload", "workload", "metrics", SERVICE, {"service": PLACE}, "does a callee do less for each request?"),
    Form("offered", "workload", "metrics", SERVICE, {"service": PLACE, "of": "callers"},
         "do its callers ask less of it?"),
    Form("metrics", "metric_anomalies", "metrics", ("service", "node", "external"), {"component": PLACE},
         "what moved inside?"),
    Form("warnings", "log_templates", "logs", SERVICE, {"component": PLACE, "least": "warn"},
         "what did it begin to complain of?"),
    Form("lines", "log_templates", "logs", SERVICE, {"component": PLACE}, "what did it begin or cease to say?"),
    Form("changes", "changes", "changes", SERVICE, {"service": PLACE}, "was it changed?"),
    Form("alerts", "alerts", "changes", SERVICE, {"service": PLACE}, "who else saw it ill?"),
    Form("topology", "topology", "structure", ("service", "external"), {"service": PLACE},
         "who calls it, whom does it call?"),
    Form("link", "link", "traces", "call", {"caller": CALLER, "callee": CALLEE}, "did trouble pass along this call?"),
    Form("hop_link", "hop", "traces", "call", {"target": CALLER, "source": CALLEE},
         "how much of the caller's trouble came from the callee?"),
    Form("complaints", "hop", "logs", "all", {}, "what do all complaints have in common?"),
    Form("all_changes", "changes", "changes", "all", {}, "what was changed at all?"),
    Form("all_alerts", "alerts", "changes", "all", {}, "whom do alerts name?"),
    Form("services", "overview", "structure", "all", {}, "which services are in trouble?"),
    Form("nodes", "overview", "structure", "all", {"of": "nodes"}, "which nodes are in trouble?"),
)  # fmt: skip
"""Every question that can be asked with arguments that the desk knows. Of tools that are not named here, nothing is
known that could fill in their arguments."""
MODALITY: dict[str, Modality] = {form.tool: form.modality for form in FORMS if form.about != "all"}
"""Tool → what it reads."""
USUAL: dict[str, tuple[Any, ...]] = {
    "least": ("any",), "against": ("baseline",), "which": ("slowest",), "of": ("services", "callees"), "source": ("",),
    "target": ("",), "operation": (None,), "span": (None,), "service": (None, ""), "within_s": (BEFORE_S,),
}  # fmt: skip
"""Arguments that say the same as leaving them out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing to do next. `place` is whom it is about (the callee of a call), `caller` the other end of a call."""

    kind: Kind
    form: str = ""
    place: str = ""
    caller: str = ""
    call: ToolCall | None = None

    @property
    def key(self) -> str:
        """What makes two actions the same."""
        return _key(self.form, self.place, self.caller) if self.call is not None else self.kind


FINISH, ABSTAIN = Action(kind="finish"), Action(kind="abstain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Somewhere that can be asked about. `candidate` is the name of its most believed candidate, None without one."""

    name: str
    level: Level
    candidate: str | None = None


@dataclass(slots=True, kw_only=True)
class Survey:
    """What a desk knows of its system: made anew from the desk, kept nowhere.

    `entries` are the services whose SLI broke with their shares of the hurt requests, `calls` caller → callees as
    far as answers showed them, `walk` what the tool `hop` saw, `blame` where by that the blame of users came to rest,
    `passed` the same for the trouble of the leader, `asked` the keys of the questions so far, `excluded` places that
    a person took out.
    """

    places: tuple[Place, ...] = ()
    entries: dict[str, float] = field(default_factory=dict[str, float])
    calls: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    nodes: set[str] = field(default_factory=set[str])
    excluded: set[str] = field(default_factory=set[str])
    walk: Walk = field(default_factory=lambda: Walk({}))
    blame: dict[str, float] = field(default_factory=dict[str, float])
    passed: dict[str, float] = field(default_factory=dict[str, float])
    asked: set[str] = field(default_factory=set[str])

    def edges(self) -> list[tuple[str, str]]:
        """Known calls with an end among the places, those of the first places first."""
        order = {place.name: at for at, place in enumerate(self.places)}
        last, barred = len(order), self.nodes | self.excluded
        every = [(caller, callee) for caller, callees in self.calls.items() for callee in callees
                 if (caller in order or callee in order) and not {caller, callee} & barred]  # fmt: skip
        every.sort(key=lambda one: (order.get(one[1], last), order.get(one[0], last), one))
        return every[:MOST_EDGES]


def question(call: ToolCall) -> str:
    """What makes two questions the same, whoever asks and however the usual is spelled."""
    said = {key: value for key, value in call.args.items() if value not in USUAL.get(key, ())}
    return key_of(msgspec.structs.replace(call, args=said))


def survey(desk: Desk) -> Survey:
    """Read a desk. Cost: O(rows of all answers) and one walk of blame."""
    found = Survey(entries=hurt(desk), asked={question(call) for call, _ in desk.answered})
    found.walk.starts.update(found.entries)
    for hop in desk.prior.propagation:
        if not hop.source.startswith("node "):
            found.calls.setdefault(hop.target, set()).add(hop.source)
    for call, answer in desk.answered:
        _take(found, call, answer)
    if found.entries:
        found.blame = explain(found.walk, Symptom(USERS, WRONG)).shares
        found.blame.pop(USERS, None)
    ranked = desk.ledger.ranked()
    first = ranked[0][1].entity.service if ranked else None
    if first is not None and first in found.walk.known:
        found.passed = explain(found.walk, Symptom(first, WRONG)).shares
    found.places = tuple(_places(desk, found))
    return found


def actions(desk: Desk, known: Survey | None = None) -> tuple[Action, ...]:
    """All that can be done next, in a fixed order: questions about places, about calls, about all; finish; abstain."""
    known = known or survey(desk)
    listed: list[Action] = []
    for place in known.places:
        listed += [_ask(form, place.name) for form in FORMS if place.level in form.about and form.about != "all"]
    for caller, callee in known.edges():
        listed += [_ask(form, callee, caller) for form in FORMS if form.about == "call"]
    listed += [_ask(form) for form in FORMS if form.about == "all"]
    fresh = [action for action in listed if action.key not in known.asked]
    return (*fresh, FINISH, ABSTAIN)


def _ask(form: Form, place: str = "", caller: str = "") -> Action:
    return Action(kind="ask", form=form.name, place=place, caller=caller, call=_call(form, place, caller))


def _call(form: Form, place: str, caller: str) -> ToolCall:
    filled = {PLACE: place, CALLEE: place, CALLER: caller}
    args = {key: filled.get(value, value) for key, value in form.args.items()}
    return ToolCall(tool=form.tool, args=args, why=form.why)


@functools.lru_cache(8192)
def _key(form: str, place: str, caller: str) -> str:
    """Kept, because all actions of one step are compared with all questions so far."""
    return question(_call(next(one for one in FORMS if one.name == form), place, caller))


def _take(found: Survey, call: ToolCall, answer: ToolAnswer) -> None:
    """What one answer tells of who calls whom and of where trouble came from."""
    centre = call.args.get("service")
    for row in answer.rows if call.tool in ("topology", "hop") else ():
        if call.tool == "hop":
            if row["source"] != row["target"]:
                found.calls.setdefault(row["target"], set()).add(row["source"])
        elif row["relation"] == "caller":
            found.calls.setdefault(row["name"], set()).add(str(centre))
        elif row["relation"] == "callee":
            found.calls.setdefault(str(centre), set()).add(row["name"])
        else:
            found.nodes.add(row["name"])
    if call.tool == "hop" and call.args.get("target") and not call.args.get("source"):
        found.walk.answers[str(call.args["target"])] = answer
        if (one := seen(answer)) is not None:
            found.walk.known[one.name] = one


def _places(desk: Desk, found: Survey) -> Iterable[Place]:
    """Where to look, in the order in which it is offered."""
    ranked = [(name, entry) for name, entry in desk.ledger.ranked() if name not in desk.excluded]
    candidate: dict[str, str] = {}
    levels: dict[str, Level] = dict.fromkeys(found.nodes, "node")
    for name, entry in ranked:
        place = place_of(entry.entity)
        candidate.setdefault(place, name)
        if entry.entity.service is None:
            levels[place] = "node"
        elif entry.entity.level == "external":
            levels[place] = "external"
    wished = [place_of(desk.ledger.entries[name].entity) if name in desk.ledger.entries else name
              for name in desk.wished]  # fmt: skip
    suspects = list(candidate)
    blamed = sorted((name for name, share in found.blame.items() if share >= LEAST_REACH),
                    key=lambda name: (-found.blame[name], name))  # fmt: skip
    # Whoever was excluded is not asked about: neither as a candidate nor as somebody's neighbour.
    out = {place_of(desk.ledger.entries[name].entity) for name in desk.excluded if name in desk.ledger.entries}
    found.excluded = out - set(candidate)
    near = _neighbours(found, [*suspects[:FIRST], *found.entries])
    order = dict.fromkeys([*wished, *suspects[:FIRST], *found.entries, *blamed, *suspects[FIRST:], *near])
    kept = [name for name in order if name not in found.excluded]
    return [Place(name=name, level=levels.get(name, "service"), candidate=candidate.get(name))
            for name in kept[:MOST_PLACES]]  # fmt: skip


def _neighbours(found: Survey, names: Iterable[str]) -> list[str]:
    """Whoever calls or is called by some places, as far as it is known."""
    wanted = set(names)
    below = {callee for caller in wanted for callee in found.calls.get(caller, ())}
    above = {caller for caller, callees in found.calls.items() if callees & wanted}
    return sorted(below | above)
