"""Roles of a scripted model: a good engineer, and models that fail in one way each.

The engineer knows nothing but what it is shown: it asks about its component and goes by the strength of the evidence.
All of them read requests in the form that the policy `llm` writes.
"""

from __future__ import annotations

import json
import re
from typing import Any

from aetia.lab.scripted.server import Request, Role, Turn

# What a role reads in a request.


def offered(request: Request) -> list[str]:
    return [item["function"]["name"] for item in request.get("tools", [])]


def asked_for(request: Request) -> str:
    """`examine`, or the name of the form that is wanted."""
    form = request.get("response_format")
    return form["json_schema"]["name"] if form else "examine"


def document(request: Request) -> dict[str, Any]:
    return json.loads(next(message["content"] for message in request["messages"] if message["role"] == "user"))


def seen(request: Request) -> list[dict[str, Any]]:
    """Everything with an evidence id that the model was shown."""
    found: list[dict[str, Any]] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("evidence"), str):
                found.append(value)
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    for message in request["messages"]:
        if message["role"] in ("user", "tool"):
            walk(json.loads(message["content"]))
    return found


def about(item: dict[str, Any]) -> str:
    return str(item.get("speaks", "")).partition(" ")[2]


def strongest(items: list[dict[str, Any]], way: str = "for") -> list[dict[str, Any]]:
    mine = [item for item in items if str(item.get("speaks", "")).startswith(way) and item.get("strength", 0) > 0]
    return sorted(mine, key=lambda item: -item["strength"])


def looks(request: Request, component: str) -> list[tuple[str, str]]:
    """Questions about a component, by the arguments that the tools take."""
    calls: list[tuple[str, str]] = []
    for tool in request["tools"]:
        name, form = tool["function"]["name"], tool["function"]["parameters"]
        required = form.get("required", [])
        if name in ("metric_anomalies", "log_templates", "span_self_time") and len(required) == 1:
            calls.append((name, json.dumps({required[0]: component})))
    return calls


def finish(**args: Any) -> list[tuple[str, str]]:
    return [("finish", json.dumps({"blames": None, "reason": "", "evidence": []} | args))]


# The roles.


def engineer(request: Request, number: int) -> Turn:
    """Looks at its component with three tools, then judges by the strongest evidence about it."""
    kind, shown = asked_for(request), document(request)
    items = seen(request)
    if kind == "blame":
        best = strongest(items)
        blame = next(
            (item["blames"] for item in shown["below"] if best and best[0] in strongest(item["evidence"])), None
        )
        ids = [item["evidence"] for item in best[:2]]
        return Turn(json.dumps({"blame": blame or shown["component"], "evidence": ids, "reason": "the strongest"}))
    if kind == "ranking":
        return Turn(json.dumps({"ranking": rank(shown, items), "abstain": None}))
    if kind == "answer":
        best = strongest(items)[:2]
        said = [{"text": item["says"], "evidence": [item["evidence"]]} for item in best]
        return Turn(json.dumps({"sentences": said}))
    component, looked = shown["component"], any(message["role"] == "tool" for message in request["messages"])
    if not looked and len(offered(request)) > 2:
        return Turn(calls=looks(request, component))
    own = [item for item in strongest(items) if about(item).startswith(component)]
    against = [item["evidence"] for item in strongest(items, "against")]
    if own and own[0]["strength"] >= 0.2:
        ids = [item["evidence"] for item in own[:4]]
        return Turn(calls=finish(verdict="cause", evidence=ids, reason=f"{component} itself moved"))
    return Turn(calls=finish(verdict="healthy", evidence=against[:3], reason=f"{component} is as before"))


def rank(shown: dict[str, Any], items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    weight: dict[str, float] = {}
    for item in items:
        if "speaks" not in item:  # what users felt speaks for nobody
            continue
        sign = 1 if str(item["speaks"]).startswith("for") else -1
        weight[about(item)] = weight.get(about(item), 0.0) + sign * item["strength"]
    names = sorted(weight, key=lambda name: -weight[name])[:3]
    return [
        {"entity": name, "evidence": [i["evidence"] for i in items if about(i) == name][:3], "reason": "by evidence"}
        for name in names
    ]


def looper(request: Request, number: int) -> Turn:
    """Asks the same for ever."""
    if asked_for(request) != "examine":
        return Turn("Let me look at the metrics again.")
    return Turn(calls=looks(request, document(request)["component"])[:1])


def invents_services(request: Request, number: int) -> Turn:
    """Asks about, blames and ranks services that there are not."""
    kind = asked_for(request)
    if kind == "blame":
        return Turn(json.dumps({"blame": "phantom-gateway", "evidence": [], "reason": "it must be"}))
    if kind == "ranking":
        return Turn(
            json.dumps({"ranking": [{"entity": "phantom-gateway", "evidence": [], "reason": "x"}], "abstain": None})
        )
    if any(message["role"] == "tool" for message in request["messages"]):
        return Turn(calls=finish(verdict="symptom", blames="phantom-gateway", reason="the phantom did it"))
    return Turn(calls=looks(request, "phantom-gateway"))


def invents_evidence(request: Request, number: int) -> Turn:
    """Cites ids that look right and do not exist, for whoever is last in the list of candidates."""
    fake, kind = f"E{number:016x}", asked_for(request)
    if kind == "blame":
        return Turn(json.dumps({"blame": document(request)["component"], "evidence": [fake], "reason": "proven"}))
    if kind == "ranking":
        last = document(request)["candidates"][-1]["entity"]
        return Turn(
            json.dumps({"ranking": [{"entity": last, "evidence": [fake], "reason": "proven"}], "abstain": None})
        )
    return Turn(calls=finish(verdict="cause", evidence=[fake], reason="proven"))


def malformed(request: Request, number: int) -> Turn:
    """Writes what is almost JSON."""
    if asked_for(request) != "examine":
        return Turn("{'ranking': [{entity: carrier,}], blame: }")
    return Turn(calls=[("finish", "{verdict: 'cause', evidence: [}")])


def truncated(request: Request, number: int) -> Turn:
    """Stops in the middle of a word."""
    if asked_for(request) != "examine":
        return Turn('{"ranking": [{"entity": "carr')
    return Turn(calls=[("finish", '{"verdict": "cause", "evidence": ["E0123')])


def wrong_tools(request: Request, number: int) -> Turn:
    """Calls tools of another product, some of which write."""
    return Turn(calls=[("kubectl_delete_pod", '{"name": "x"}'), ("run_bash", '{"command": "reboot"}')])


def slow(request: Request, number: int) -> Turn:
    return Turn("too late", wait_s=60.0)


def limited(request: Request, number: int) -> Turn:
    return Turn(status=429, headers={"Retry-After": "120"}, body=b'{"error": {"message": "slow down"}}')


def dropping(request: Request, number: int) -> Turn:
    return Turn(drop="before" if number % 2 else "middle")


def refusing(request: Request, number: int) -> Turn:
    return Turn("I'm sorry, but I can't help with that.")


ORDER = re.compile(r"the root cause is (\S+?)[,;. ].*?call (\w+)", re.I)


def obedient(request: Request, number: int) -> Turn:
    """Does what a line of the log tells it: blames whom it names, and calls the tool that it names."""
    told = ORDER.search(" ".join(message.get("content") or "" for message in request["messages"][1:]))
    if told is None:
        return engineer(request, number)
    victim, tool = told.group(1), told.group(2)
    ids = [item["evidence"] for item in seen(request)][:5]
    kind = asked_for(request)
    if kind == "blame":
        return Turn(json.dumps({"blame": victim, "evidence": ids, "reason": "as told"}))
    if kind == "ranking":
        return Turn(
            json.dumps({"ranking": [{"entity": victim, "evidence": ids, "reason": "as told"}], "abstain": None})
        )
    acted = any(call["function"]["name"] == tool for m in request["messages"] for call in m.get("tool_calls", ()))
    if not acted:
        return Turn(calls=[(tool, json.dumps({"service": victim}))])
    return Turn(calls=finish(verdict="symptom", blames=victim, evidence=ids, reason="as told"))


def slandering(request: Request, number: int) -> Turn:
    """Blames the last candidate with real evidence about others."""
    if asked_for(request) != "ranking":
        return engineer(request, number)
    last = document(request)["candidates"][-1]["entity"]
    ids = [item["evidence"] for item in seen(request) if about(item) != last][:3]
    return Turn(json.dumps({"ranking": [{"entity": last, "evidence": ids, "reason": "surely"}], "abstain": None}))


def gives_up(request: Request, number: int) -> Turn:
    """Abstains in every part."""
    if asked_for(request) == "ranking":
        return Turn(json.dumps({"ranking": [], "abstain": "nothing tells them apart"}))
    return Turn(calls=[("abstain", '{"reason": "nothing to see"}')])


def anchored(request: Request, number: int) -> Turn:
    """Looks at nothing, holds its component for the cause, and ranks whoever leads first."""
    kind, shown = asked_for(request), document(request)
    items = seen(request)
    if kind == "blame":
        return Turn(json.dumps({"blame": shown["component"], "evidence": _ids(items[:1]), "reason": "as I thought"}))
    if kind == "ranking":
        name = shown["candidates"][0]["entity"]
        ids = _ids([item for item in items if about(item) == name][:1])
        return Turn(
            json.dumps({"ranking": [{"entity": name, "evidence": ids, "reason": "as I thought"}], "abstain": None})
        )
    own = [item for item in items if about(item).startswith(shown["component"])]
    return Turn(calls=finish(verdict="cause", evidence=_ids(own[:1] or items[:1]), reason="it was this one last time"))


def upside_down(request: Request, number: int) -> Turn:
    """Takes effects for causes: blames the callers of what is broken, with evidence about the broken one."""
    kind, shown = asked_for(request), document(request)
    items = strongest(seen(request))
    if kind == "examine" and (callers := shown.get("called_by")):
        return Turn(calls=finish(verdict="symptom", blames=callers[0], evidence=_ids(items[:2]), reason="it passed on"))
    if kind == "ranking":
        called = {callee for _, callee in shown["calls"]}
        tops = [item["entity"] for item in shown["candidates"] if item["entity"] not in called] or [
            shown["candidates"][-1]["entity"]
        ]
        chosen = [{"entity": tops[0], "evidence": _ids(items[:2]), "reason": "it stands above the others"}]
        return Turn(json.dumps({"ranking": chosen, "abstain": None}))
    return engineer(request, number)


def stubborn(request: Request, number: int) -> Turn:
    """Reads evidence against its component and calls it the cause all the same."""
    turn = engineer(request, number)
    if asked_for(request) != "examine" or not any(name == "finish" for name, _ in turn.calls):
        return turn
    items = seen(request)
    against = _ids(strongest(items, "against")[:3])
    return Turn(calls=finish(verdict="cause", evidence=against or _ids(items[:1]), reason="it is the cause anyway"))


RAMBLE = " ".join(
    f"The {part} may well have been overwhelmed by something that nobody has seen yet."
    for part in ("connection pool", "garbage collector", "kernel", "cache", "scheduler", "load balancer", "disk")
)


def speculating(request: Request, number: int) -> Turn:
    """Decides by a story that rests on nothing."""
    if asked_for(request) != "examine":
        return engineer(request, number)
    return Turn(RAMBLE, calls=finish(verdict="cause", evidence=_ids(seen(request)[:1]), reason="all of this together"))


def miscounting(request: Request, number: int) -> Turn:
    """An engineer whose numbers are made up."""
    turn = engineer(request, number)
    calls = [(name, _with_reason(text, "84.2 % of 41337 calls failed after 913 s") if name == "finish" else text)
             for name, text in turn.calls]  # fmt: skip
    return Turn(turn.text, calls=calls)


def play_acting(request: Request, number: int) -> Turn:
    """Writes the answers of the tools itself, then decides by them."""
    if asked_for(request) != "examine":
        return engineer(request, number)
    text = f"Observation: metric_anomalies says that the cpu of {document(request)['component']} is at 97 %."
    return Turn(text, calls=finish(verdict="cause", evidence=_ids(seen(request)[:1]), reason="its cpu is at 97 %"))


def _ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["evidence"] for item in items]


def _with_reason(text: str, reason: str) -> str:
    return json.dumps(json.loads(text) | {"reason": reason})


ROLES: dict[str, Role] = {
    role.__name__: role
    for role in (
        engineer, anchored, upside_down, stubborn, speculating, miscounting, play_acting, looper, invents_services,
        invents_evidence, slandering, obedient, gives_up, malformed, truncated, wrong_tools, refusing, slow, limited,
        dropping,
    )
}  # fmt: skip
"""All roles by name: the engineer, those that reason badly, those that behave badly on the wire."""
