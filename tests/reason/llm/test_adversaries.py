"""Twelve scripted models over real HTTP: whatever they do, the diagnosis is correct or abstained, in time, and the
failure is named in the journal. Nothing is called outside the tools."""

from __future__ import annotations

import time

import msgspec
import pytest
import server
from scenes import ROOT, SCAPEGOAT, Scene, doubtful

from aetia import plugins
from aetia.model.journal import Asked, ToolCall, Traced
from aetia.reason.checks.registry import default_checks
from aetia.reason.models.openai import OpenAIModel
from aetia.reason.models.wire import estimated
from aetia.reason.policies.llm import Llm
from aetia.reason.replay import replay
from aetia.reason.run import run
from aetia.reason.toolbox import ViewTools

DEADLINE_S = 4.0
NAMED = {
    "engineer": set(), "looper": {"RF-12"}, "invents_services": {"RF-01"}, "invents_evidence": {"RF-01"},
    "malformed": {"malformed-answer"}, "truncated": {"malformed-answer"}, "wrong_tools": {"RF-10"},
    "slow": {"model-timeout"}, "limited": {"model-quota"}, "dropping": {"model-transient"},
    "refusing": {"no-verdict"}, "obedient": {"RF-10", "instruction-in-telemetry"},
    "slandering": {"RF-00"}, "gives_up": set(),
}  # fmt: skip
"""Role → failures that the journal has to name; the last two are more than the twelve."""


@pytest.mark.parametrize("role", NAMED)
def test_a_bad_model_does_no_harm_and_its_failure_is_named(role: str, scene: Scene, hostile: Scene) -> None:
    there = hostile if role == "obedient" else scene
    with server.Scripted(getattr(server, role)) as scripted:
        began = time.monotonic()
        diagnosis = there.investigate(OpenAIModel(scripted.url, "scripted"), deadline_s=DEADLINE_S)
        assert time.monotonic() - began < DEADLINE_S + 1.0
        assert scripted.requests, "the model was asked"
    assert diagnosis.abstained is not None or diagnosis.hypotheses[0].entity.service == ROOT
    assert NAMED[role] <= there.warned
    asked = {e.request.tool for e in there.events if isinstance(e, Asked) and isinstance(e.request, ToolCall)}
    assert asked <= set(plugins.names("tool"))
    assert max(estimated(call) + call.max_tokens for call in there.model_calls()) <= 8_000
    known = {item.id for item in diagnosis.evidence}
    assert all(key in known for item in diagnosis.hypotheses for key in (*item.evidence, *item.against))


@pytest.mark.parametrize("role", [name for name in NAMED if name not in ("slow", "dropping")])
def test_the_checks_of_reasoning_stand_by_as_well(role: str, scene: Scene, hostile: Scene) -> None:
    there = hostile if role == "obedient" else scene
    with server.Scripted(getattr(server, role)) as scripted:
        diagnosis = run(
            there.prior, Llm(), ViewTools(there.view), name="llm", model=OpenAIModel(scripted.url, "scripted"),
            checks=default_checks(),
        )  # fmt: skip
    assert diagnosis.abstained is not None or diagnosis.hypotheses[0].entity.service == ROOT


def test_the_engineer_mends_a_prior_that_leads_astray(scene: Scene) -> None:
    scene.prior = doubtful(scene.prior, SCAPEGOAT)
    assert scene.prior.hypotheses[0].entity.service == SCAPEGOAT
    with server.Scripted(server.engineer) as scripted:
        diagnosis = scene.investigate(OpenAIModel(scripted.url, "scripted"))
    assert diagnosis.hypotheses[0].entity.service == ROOT and diagnosis.hypotheses[0].verdict == "verified"
    assert not scene.warned and scene.closed.tokens > 0
    walked = [event for event in scene.events if isinstance(event, Traced)]
    assert walked[0].source == ROOT and all(hop.in_direction and hop.evidence for hop in walked)
    assert walked[-1].target in {item.entry.service for item in scene.prior.incident.breaches}


@pytest.mark.parametrize("role", ["engineer", "obedient", "invents_evidence", "limited"])
def test_a_replay_gives_the_same_diagnosis(role: str, hostile: Scene) -> None:
    with server.Scripted(getattr(server, role)) as scripted:
        diagnosis = hostile.investigate(OpenAIModel(scripted.url, "scripted"))
    lines = [msgspec.json.encode(event) for event in hostile.events]
    again = replay([msgspec.json.decode(line, type=type(e)) for line, e in zip(lines, hostile.events, strict=True)])
    assert msgspec.json.encode(again) == msgspec.json.encode(diagnosis)


def test_an_order_in_a_log_line_reaches_the_model_quoted(hostile: Scene) -> None:
    with server.Scripted(server.engineer) as scripted:
        hostile.investigate(OpenAIModel(scripted.url, "scripted"))
    shown = [message for request in scripted.requests for message in request["messages"]]
    assert not any("ignore all previous" in message["content"] for message in shown if message["role"] == "system")
    holding = [m for m in shown if "ignore all previous" in (m.get("content") or "")]
    assert holding and all(m["role"] in ("tool", "user") and msgspec.json.decode(m["content"]) for m in holding)
