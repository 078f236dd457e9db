"""A small incident and policies on a script, run by the real engine under one check."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from aetia.model.diagnosis import Claim, Diagnosis, Evidence, Hypothesis, Incident, Query
from aetia.model.entity import Entity, instance, service
from aetia.model.journal import Answer, Event, ModelAnswer, ModelCall, Request, ToolAnswer, ToolCall, ToolError, Warned
from aetia.model.window import Window
from aetia.reason.checks.registry import default_checks
from aetia.reason.engine import Check, Given, investigate
from aetia.reason.policy import Desk, Limits, Questions, Steps

ONSET = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
GRAPH = {"web": ["cart", "pay"], "cart": ["db"], "pay": ["db"], "db": [], "mail": []}
TOOLS = ("topology", "metric_anomalies", "log_templates", "finish")


def fact(
    number: int, about: str | Entity, what: str = "errors", *, up: bool = True, against: bool = False,
    strength: float = 0.6, channel: str = "metric_anomalies", onset_s: float = 0.0, text: str = "",
    result: dict[str, object] | None = None,
) -> Evidence:  # fmt: skip
    """Evidence with a readable id: E, then its number in sixteen digits."""
    claim = Claim(
        what=what, direction="up" if up else "down", magnitude=0.3, unit="share",
        onset_ns=ONSET + int(onset_s * SECOND), text=text,
    )  # fmt: skip
    return Evidence(
        id=f"E{number:016d}", about=service(about) if isinstance(about, str) else about, claim=claim,
        polarity="against" if against else "for", strength=strength, query=Query(channel=channel, args={}),
        result=result if result is not None else {"baseline": 0.01, "incident": 0.31} if up else {"baseline": 0.31, "incident": 0.01},
        digest="0" * 16,
    )  # fmt: skip


PRIOR_FACTS = (
    fact(1, "cart"),
    fact(2, "pay", strength=0.5),
    fact(3, "db", strength=0.4),
    fact(4, "mail", strength=0.3),
)


def prior(facts: Sequence[Evidence] = PRIOR_FACTS) -> Diagnosis:
    """Five candidates, three of them plausible; each of the four first has one piece of evidence."""
    beliefs = {"cart": 0.5, "pay": 0.3, "db": 0.1, "mail": 0.02, "web": 0.02}
    hypotheses = tuple(
        Hypothesis(
            entity=service(name), score=belief, probability=belief,
            evidence=tuple(item.id for item in facts if item.about.name == name),
        )
        for name, belief in beliefs.items()
    )  # fmt: skip
    window = Window(ONSET, ONSET + 300 * SECOND)
    incident = Incident(baseline=Window(ONSET - 600 * SECOND, ONSET), window=window, onset_ns=ONSET)
    return Diagnosis(localizer="scripted", incident=incident, hypotheses=hypotheses, roots=(0,), evidence=tuple(facts))


def topology(name: str) -> ToolAnswer:
    rows = [{"relation": "callee", "name": other, "calls": 9} for other in GRAPH[name]]
    rows += [{"relation": "caller", "name": other, "calls": 9} for other, callees in GRAPH.items() if name in callees]
    return ToolAnswer(rows=tuple(rows), limit=20)


def answer(request: Request, said: dict[str, Answer]) -> Answer:
    """What the script has for the tool, the agent of a model, or (of topology) the graph above."""
    if isinstance(request, ModelCall):
        found = said.get(f"model {len(request.messages)}") or said.get("model")
        assert found is not None
        return found
    assert isinstance(request, ToolCall)
    if request.tool in said:
        return said[request.tool]
    name = request.args.get("service")
    if request.tool == "topology" and name in GRAPH:
        return topology(str(name))
    if request.tool == "finish":
        return ToolAnswer()
    return ToolAnswer(
        error=ToolError(
            category="validation", code="SignalError", message=f"there is no service {name!r} in this telemetry."
        )
    )


def tool(name: str, **args: object) -> ToolCall:
    return ToolCall(tool=name, args=args)


def model(turn: int = 0, shown: str = "what broke?") -> ModelCall:
    """A turn of a model; `turn` makes each a question of its own."""
    messages = tuple({"role": "user", "content": shown} for _ in range(turn + 1))
    tools = tuple({"type": "function", "function": {"name": name}} for name in TOOLS)
    return ModelCall(messages=messages, tools=tools)


def says(text: str, *calls: tuple[str, str]) -> ModelAnswer:
    return ModelAnswer(text=text, calls=tuple((f"c{k}", name, args) for k, (name, args) in enumerate(calls)))


class Scripted:
    """A policy from a generator function."""

    def __init__(self, steps: Callable[[Desk], Generator[Questions, tuple[Answer, ...], None]]) -> None:
        self.steps: Callable[[Desk], Steps] = steps


def watched(
    steps: Callable[[Desk], Steps], *codes: str, said: dict[str, Answer] | None = None, of: Diagnosis | None = None
) -> list[Event]:
    """The journal of a scripted policy under the checks of some codes (none: all of them)."""
    events: list[Event] = []
    checks: Sequence[Check] = default_checks(codes or None)
    run = investigate(
        of or prior(), Scripted(steps), name="scripted", limits=Limits(max_calls=60), checks=checks, tell=events.append
    )
    try:
        asked = next(run)
        while True:
            answers = tuple(answer(item.request, said or {}) for item in asked)
            asked = run.send(Given(answers=answers, at_s=0.1 * len(events)))
    except StopIteration:
        return events


def warnings(events: Sequence[Event]) -> list[Warned]:
    return [event for event in events if isinstance(event, Warned)]


def pod(name: str, of: str) -> Entity:
    return instance(name, of)
