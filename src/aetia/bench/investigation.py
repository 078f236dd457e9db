"""One policy on one case, inside a worker: the investigation, what it cost, and whether its claims hold."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from aetia import plugins
from aetia.bench.anytime import leads, scored
from aetia.bench.journals import journal_name
from aetia.bench.messages import Investigated, Lead, Task
from aetia.bench.methods import Method
from aetia.bench.scoring import Answer
from aetia.localize._prior import prior_of
from aetia.localize.localizer import Localization
from aetia.model.diagnosis import Diagnosis, Incident
from aetia.model.journal import Closed, Event, Warned
from aetia.reason.checks.registry import default_checks
from aetia.reason.journals import JournalFile
from aetia.reason.policy import Limits
from aetia.reason.run import run
from aetia.reason.toolbox import ViewTools
from aetia.report.recheck import recheck
from aetia.signals.view import View

if TYPE_CHECKING:
    from aetia.detect._proof import Proof
    from aetia.reason.policy import Policy
    from aetia.reason.run import Model

SHARE_OF_TIME = 0.9
"""Of the time-out, so that an investigation ends by itself before it is ended."""


class Found(NamedTuple):
    """What an investigation came to."""

    diagnosis: Diagnosis
    investigated: Investigated
    events: list[Event]

    def leads(self) -> tuple[Lead, ...]:
        """The answers that stood on the way."""
        return leads(self.events)


def limits_of(timeout_s: float) -> Limits:
    """What an investigation may spend under a time-out."""
    usual = Limits()
    return Limits(
        deadline_s=min(usual.deadline_s, SHARE_OF_TIME * timeout_s),
        max_calls=usual.max_calls,
        max_tokens=usual.max_tokens,
    )


def investigate(
    method: Method, said: Localization, view: View, incident: Incident, task: Task, proof: Proof | None = None
) -> Found:
    """Run the policy of a method on what its localizer said. Raises whatever the policy raises."""
    assert method.policy is not None
    start = prior_of(said, localizer=method.localizer, incident=incident, proof=proof)
    events: list[Event] = []
    began = time.perf_counter()
    policy = cast("Policy", plugins.create("policy", method.policy))
    with _journal(task, method, events) as tell:
        diagnosis = run(
            start, policy, ViewTools(view), name=method.policy, limits=limits_of(task.timeout_s),
            seed=task.seed + method.repeat, checks=default_checks(), model=_model(task), tell=tell,
        )  # fmt: skip
    seconds = time.perf_counter() - began
    closed = events[-1]
    assert isinstance(closed, Closed)
    warned = [event for event in events if isinstance(event, Warned)]
    return Found(
        diagnosis,
        Investigated(
            outcome=closed.outcome, calls=closed.calls, tokens=closed.tokens, added_s=seconds,
            tokens_in=closed.tokens_in, tokens_out=closed.tokens_out,
            warnings=dict(Counter(event.check for event in warned)),
            stopped_by=next((event.check for event in warned if event.stopped), None),
            claims=len(_claims(diagnosis)), journal=journal_name(task, method) if task.journals is not None else None,
        ),
        events,
    )  # fmt: skip


@contextlib.contextmanager
def _journal(task: Task, method: Method, events: list[Event]) -> Generator[Callable[[Event], None]]:
    """Takes events into a list and, where journals are kept, to the disk as they happen, so that a policy that is ended
    from outside leaves its own too. A journal of an earlier run is replaced."""
    if task.journals is None:
        yield events.append
        return
    path = Path(task.journals) / journal_name(task, method)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with JournalFile(path) as file:

        def tell(event: Event) -> None:
            events.append(event)
            file.write(event)

        yield tell


def _model(task: Task) -> Model | None:
    if task.model is None:
        return None
    from aetia.reason.models.openai import OpenAIModel

    url, name = task.model
    return OpenAIModel(url, name)


def checked_claims(found: Found, view: View) -> Investigated:
    """The investigation with the number of its final claims that a re-check confirms; one that the diagnosis cites and
    does not hold cannot be confirmed."""
    held = {item.evidence.id for item in recheck(found.diagnosis, view) if item.holds}
    return msgspec.structs.replace(found.investigated, confirmed=len(_claims(found.diagnosis) & held))


def _claims(diagnosis: Diagnosis) -> set[str]:
    """The evidence that the final ranking and the propagation cite."""
    cited = {item for hypothesis in diagnosis.hypotheses for item in (*hypothesis.evidence, *hypothesis.against)}
    return cited | {hop.evidence for hop in diagnosis.propagation if hop.evidence is not None}


def answer_of(diagnosis: Diagnosis, view: View) -> Answer:
    """The part of a diagnosis that is scored."""
    return Answer(
        hypotheses=scored(diagnosis), roots=diagnosis.roots, abstained=diagnosis.abstained,
        path=_path(diagnosis, view), entries=_entries(diagnosis.incident),
    )  # fmt: skip


def _entries(incident: Incident | None) -> tuple[str, ...]:
    """The services whose SLI broke."""
    breaches = incident.breaches if incident is not None else ()
    return tuple(dict.fromkeys(item.entry.service or item.entry.name for item in breaches))


def _path(diagnosis: Diagnosis, view: View) -> tuple[tuple[str, str], ...]:
    """The hops of the propagation as pairs of services or nodes, without those that the telemetry has no edge for."""
    owners = {
        item.entity.name: item.entity.service or item.entity.name
        for item in (*diagnosis.hypotheses, *diagnosis.rejected)
    }
    graph, names = view.topology, view.names
    edges = {(names.services[a], names.services[b]) for a, b in zip(graph.caller, graph.callee, strict=True)}
    hosts = zip(graph.instance_service, graph.instance_node, strict=True)
    edges |= {(names.services[a], names.nodes[b]) for a, b in hosts if a >= 0 and b >= 0}
    hops = [(owners.get(hop.source, hop.source), owners.get(hop.target, hop.target)) for hop in diagnosis.propagation]
    return tuple((a, b) for a, b in hops if a == b or (a, b) in edges or (b, a) in edges)
