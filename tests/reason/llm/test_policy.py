"""What the agents share and may spend, and that the model is only asked where the prior is in doubt."""

from __future__ import annotations

import contextlib
import json
import threading

import msgspec
import server
from scenes import ROOT, SCAPEGOAT, Scene

from aetia.model.diagnosis import Diagnosis, make_evidence
from aetia.model.entity import service
from aetia.model.journal import Answered, Asked, Believed, Event, ModelAnswer, ModelCall, ToolAnswer, ToolCall, Warned
from aetia.reason._llm_board import MOST_MOVED, Board
from aetia.reason._llm_brief import MOST_SYMPTOMS, symptoms
from aetia.reason.ledger import Ledger
from aetia.reason.models.openai import OpenAIModel
from aetia.reason.models.wire import CHARACTERS_PER_TOKEN, estimated
from aetia.reason.policies.llm import Llm
from aetia.reason.policy import Desk, Limits
from aetia.reason.run import run
from aetia.reason.toolbox import ViewTools


class Together:
    """A model that answers when as many agents ask as there shall be side by side, or says that they never came."""

    def __init__(self, model: OpenAIModel, agents: int) -> None:
        self._model, self._all = model, threading.Barrier(agents)
        self.met = 0

    def answer(self, call: ModelCall, timeout_s: float) -> ModelAnswer:
        if call.agent.startswith("node:") and not self.met:
            with contextlib.suppress(threading.BrokenBarrierError):
                self._all.wait(10)
                self.met = self._all.parties
        return self._model.answer(call, timeout_s)


class Nothing:
    """A system in which tools find nothing."""

    def answer(self, call: ToolCall) -> ToolAnswer:
        return ToolAnswer()


def many(prior: Diagnosis, count: int) -> Diagnosis:
    one = prior.hypotheses[0]
    names = [f"service-{at:02d}" for at in range(count)]
    crowd = tuple(msgspec.structs.replace(one, entity=service(name), probability=0.1, evidence=()) for name in names)
    return msgspec.structs.replace(prior, hypotheses=crowd, roots=(0,), evidence=(), propagation=())


def test_nobody_is_asked_where_the_prior_is_sure(scene: Scene) -> None:
    sure = msgspec.structs.replace(scene.prior.hypotheses[0], probability=0.95)
    scene.prior = msgspec.structs.replace(scene.prior, hypotheses=(sure, *scene.prior.hypotheses[1:]))
    with server.Scripted(server.engineer) as scripted:
        scene.investigate(OpenAIModel(scripted.url, "scripted"))
        assert scripted.requests == [] and not scene.model_calls()


def test_without_a_model_the_prior_stands(scene: Scene) -> None:
    diagnosis = scene.investigate(None)
    assert [item.entity for item in diagnosis.hypotheses] == [item.entity for item in scene.prior.hypotheses]
    assert "model-dependency" in scene.warned


def test_agents_work_side_by_side(scene: Scene) -> None:
    with server.Scripted(server.gives_up) as scripted:
        model = Together(OpenAIModel(scripted.url, "scripted"), 4)
        run(many(scene.prior, 12), Llm(), Nothing(), name="llm", model=model, limits=Limits(deadline_s=30))
    assert model.met == 4


def test_no_context_grows_with_the_incident(scene: Scene) -> None:
    long = "ein sehr langer Name " * 40
    prior = many(scene.prior, 60)
    item = scene.prior.evidence[0]
    facts = tuple(
        make_evidence(
            about=service(f"service-{at % 40:02d}"), polarity="for", strength=0.5, result={"n": at}, query=item.query,
            claim=msgspec.structs.replace(item.claim, text=f"{at} {long}"),
        )
        for at in range(500)
    )  # fmt: skip
    scene.prior = msgspec.structs.replace(prior, evidence=facts)
    with server.Scripted(server.chatterbox) as scripted:
        scene.investigate(OpenAIModel(scripted.url, "scripted"), max_calls=3000, max_tokens=10_000_000, deadline_s=60)
    calls = scene.model_calls()
    agents = {call.agent for call in calls if call.agent.startswith("node:")}
    assert len(agents) == 32 and len(calls) > 64
    assert max(estimated(call) + call.max_tokens for call in calls) <= 8_000
    assert max(len(msgspec.json.encode(request)) / 4 for request in scripted.requests) <= 8_000


def test_the_symptoms_name_their_evidence_and_how_severe_they_are(scene: Scene) -> None:
    with server.Scripted(server.engineer) as scripted:
        found = scene.investigate(OpenAIModel(scripted.url, "scripted"), question="How bad is it?")
    shown = [server.document(request)["symptoms"] for request in scripted.requests
             if "symptoms" in server.document(request)]  # fmt: skip
    kinds = {call.agent.split(":")[0] for call in scene.model_calls()}
    assert {"node", "synthesis"} <= kinds and len({json.dumps(item) for item in shown}) == 1
    told, known = shown[0], {item.id for item in scene.prior.evidence}
    assert scene.prior.severity is not None and told["severity"]["level"] == scene.prior.severity.level
    assert told["severity"]["evidence"] == found.impact.evidence in known
    assert told["broken"] and all(item["evidence"] in known for item in told["broken"])
    assert len(json.dumps(told)) <= MOST_SYMPTOMS * CHARACTERS_PER_TOKEN


def test_evidence_of_symptoms_that_is_not_there_is_not_cited_and_long_names_cost_rows_alone(scene: Scene) -> None:
    incident = scene.prior.incident
    assert incident is not None
    entry = msgspec.structs.replace(incident.breaches[0].entry, name="GET /a very long way " * 30)
    longer = tuple(msgspec.structs.replace(incident.breaches[0], entry=entry, evidence="E0") for _ in range(5))
    prior = msgspec.structs.replace(scene.prior, incident=msgspec.structs.replace(incident, breaches=longer))
    told = symptoms(Desk(prior=prior, limits=Limits(), seed=0, ledger=Ledger(print), note=print))
    assert 0 < len(told["broken"]) < 5 and not any("evidence" in item for item in (*told["broken"], told["severity"]))
    assert len(msgspec.json.encode(told)) <= MOST_SYMPTOMS * CHARACTERS_PER_TOKEN


def test_what_one_agent_asked_is_not_asked_again_for_another(scene: Scene) -> None:
    with server.Scripted(server.nosy) as scripted:
        scene.investigate(OpenAIModel(scripted.url, "scripted"))
    asked = [e.request for e in scene.events if isinstance(e, Asked) and isinstance(e.request, ToolCall)]
    keys = [(call.tool, msgspec.json.encode(call.args)) for call in asked]
    assert len(keys) == len(set(keys))
    assert not [e for e in scene.events if isinstance(e, Answered) and isinstance(e.answer, ToolAnswer)
                and e.answer.error is not None and e.answer.error.category == "repeated"]  # fmt: skip


def test_beliefs_move_by_evidence_of_tools_alone_and_not_far(scene: Scene) -> None:
    with server.Scripted(server.engineer) as scripted:
        scene.investigate(OpenAIModel(scripted.url, "scripted"))
    moves = [event for event in scene.events if isinstance(event, Believed) and event.before != event.after]
    of_prior = {item.id for item in scene.prior.evidence}
    assert moves and all(not set(event.because) & of_prior for event in moves)
    for name in {event.entity for event in moves}:
        mine = [event for event in moves if event.entity == name]
        odds = [belief / (1 - belief) for belief in (mine[0].before, mine[-1].after)]
        assert max(odds) / min(odds) <= 2.72**MOST_MOVED


def test_calls_and_tokens_are_kept_to(scene: Scene) -> None:
    with server.Scripted(server.engineer) as scripted:
        model = OpenAIModel(scripted.url, "scripted")
        scene.investigate(model, max_calls=30)
        assert scene.closed.calls <= 30 and scene.closed.outcome == "answered"
        scene.investigate(model, max_tokens=40_000)
        assert scene.closed.tokens <= 40_000 and "budget" in scene.warned


def test_a_person_s_wish_comes_first_and_an_exclusion_is_kept(scene: Scene) -> None:
    from aetia.model.journal import Steer
    from aetia.reason.engine import Given, investigate

    work = investigate(scene.prior, Llm(), name="llm")
    asked = next(work)
    steers = (Steer(wish="exclude", entity=scene.prior.hypotheses[0].entity.name),)
    answers = tuple(ToolAnswer() for _ in asked)
    asked = work.send(Given(answers=answers, at_s=0.1, steers=steers))
    assert {item.request.agent for item in asked} and SCAPEGOAT in {item.request.agent[5:] for item in asked}
    try:
        while True:
            given = tuple(ModelAnswer() if isinstance(i.request, ModelCall) else ToolAnswer() for i in asked)
            asked = work.send(Given(answers=given, at_s=0.2))
    except StopIteration as end:
        assert ROOT not in {item.entity.service for item in end.value.hypotheses[:1]}


def test_the_candidates_are_examined_together_before_a_model_ranks_them(scene: Scene) -> None:
    with server.Scripted(server.engineer) as scripted:
        scene.investigate(OpenAIModel(scripted.url, "scripted"))
    kinds = [event.request.agent if isinstance(event.request, ModelCall) else event.request.tool
             for event in scene.events if isinstance(event, Asked)]  # fmt: skip
    ranked = kinds.index("synthesis")
    assert "hop" in kinds[:ranked] and "hop" not in kinds[ranked:]
    group = [item.entity.service for item in scene.prior.hypotheses[:3]]
    asked = {event.request.args.get("target") for event in scene.events
             if isinstance(event, Asked) and isinstance(event.request, ToolCall)}  # fmt: skip
    assert set(group) <= asked


def test_a_machine_that_exists_is_not_invented_where_a_tool_wants_a_service(scene: Scene) -> None:
    told: list[Event] = []
    board = Board(Desk(prior=scene.prior, limits=Limits(), seed=0, ledger=Ledger(told.append), note=told.append))
    tools, names = ViewTools(scene.view), scene.view.names
    look = ToolCall(tool="topology", args={"service": ROOT})
    board.take(look, tools.answer(look))
    machine = next(name for name in names.nodes if board.knows(name))
    for call, slips in (
        (ToolCall(tool="topology", args={"service": machine}), 0),
        (ToolCall(tool="link", args={"caller": ROOT, "callee": machine}), 0),
        (ToolCall(tool="topology", args={"service": "moon"}), 1),
        (ToolCall(tool="link", args={"caller": ROOT, "callee": "moon"}), 1),
        (ToolCall(tool="trace_children", args={"service": ROOT, "operation": "GET /moon"}), 1),
    ):
        told.clear()
        answer = tools.answer(call)
        assert answer.error is not None and answer.error.code.startswith("unknown_") and board.take(call, answer).failed
        assert [event.check for event in told if isinstance(event, Warned)] == ["RF-01"] * slips, call


def test_nothing_counts_for_a_candidate_that_observation_has_refuted(scene: Scene) -> None:
    item = scene.prior.evidence[0]
    facts = [
        make_evidence(about=service(name), polarity=way, strength=0.9, result={"n": way + name}, query=item.query,
                      claim=item.claim)
        for name in ("victim", "other") for way in ("for", "against")
    ]  # fmt: skip
    desk = Desk(prior=scene.prior, limits=Limits(), seed=0, ledger=Ledger(lambda event: None),
                note=lambda event: None, evidence={fact.id: fact for fact in facts})  # fmt: skip
    for name in ("victim", "other"):
        desk.ledger.propose(name, service(name), 0.3)
    board = Board(desk)
    board.refuted = frozenset({"victim"})
    board.weigh(tuple(fact.id for fact in facts if fact.polarity == "for"))
    assert desk.ledger.entries["victim"].belief == 0.3 < desk.ledger.entries["other"].belief
    board.weigh(tuple(fact.id for fact in facts if fact.polarity == "against"))
    assert desk.ledger.entries["victim"].belief < 0.3
