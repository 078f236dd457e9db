"""What `aetia ask` and `aetia diagnose --policy` share: which model may be asked, what it may cost, and the journal."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from aetia.model.errors import UsageError

if TYPE_CHECKING:
    from aetia.api import Investigation
    from aetia.cli.recall import Recall
    from aetia.model.journal import Event, Steer
    from aetia.plugins import Plugin
    from aetia.reason.policy import Limits
    from aetia.reason.run import Model

MODEL_DEADLINE_S = 120.0
"""With a model an investigation may take so long unless something else is asked for."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Modelling:
    """Which language model may be asked, what it is told, and what it may cost.

    Parameters
    ----------
    model_url:
        Base URL of a server with OpenAI's chat completions. Default: AETIA_MODEL_URL. The key is AETIA_MODEL_KEY.
    model:
        Name of the model there. Default: AETIA_MODEL.
    pseudonyms:
        Replace the names of services, instances and nodes before anything is sent.
    record:
        Write the model's turns to this new file.
    recorded:
        Take the model's turns from this file instead of asking a model.
    price_in:
        What a million tokens that the model reads cost. Default: AETIA_MODEL_PRICE_IN, else only tokens are counted.
    price_out:
        The same for tokens that it writes. Default: AETIA_MODEL_PRICE_OUT.
    max_cost:
        End with the best answer so far before the model costs more than this.
    deadline:
        Seconds that the investigation may take. Default: 120 with a model, else 30.
    """

    model_url: str | None = None
    model: str | None = None
    pseudonyms: Annotated[bool, Parameter(negative=())] = False
    record: Path | None = None
    recorded: Path | None = None
    price_in: float | None = None
    price_out: float | None = None
    max_cost: float | None = None
    deadline: float | None = None

    def ready(self, policy: Plugin | None = None) -> Ready:
        """What was configured for a policy that may ask a model, and for a question when there is no policy.

        Raises UsageError when a model is needed and none is configured, and for prices and limits that cannot be.
        """
        from aetia.reason.models import configured
        from aetia.reason.policy import Limits

        needed = policy is None or "model" in policy.needs
        if policy is not None and not needed and self != Modelling(deadline=self.deadline):
            raise UsageError(f"options of the model need a policy that asks one, such as llm; {policy.name} asks none.")
        price = configured.price(self.price_in, self.price_out)
        if self.max_cost is not None and price is None:
            raise UsageError("--max-cost needs --price-in and --price-out: what tokens cost is never guessed.")
        if not (self.max_cost is None or 0 < self.max_cost < math.inf):
            raise UsageError("--max-cost is a number above 0.")
        if not (self.deadline is None or 0 < self.deadline < math.inf):
            raise UsageError("--deadline is a number of seconds above 0.")
        model = self._model(needed)
        usual = MODEL_DEADLINE_S if needed else Limits().deadline_s
        limits = Limits(deadline_s=self.deadline or usual, max_cost=self.max_cost, price=price)
        return Ready(model=model, limits=limits, pseudonyms=self.pseudonyms)

    def _model(self, needed: bool) -> Model | None:
        """The model or its recorded turns; pseudonyms are put on outside, so that no recording holds a name."""
        from aetia.reason.models import configured
        from aetia.reason.models.recorded import Recorded, Recording

        if self.recorded is not None:
            if self.record is not None or self.model_url is not None:
                raise UsageError("--recorded asks no model; leave out --record and --model-url.")
            return Recorded(self.recorded)
        wanted = configured.required if needed else configured.configured
        model: Model | None = wanted(self.model_url, self.model)
        if self.record is None:
            return model
        if model is None:
            raise UsageError("--record needs a model: there is nothing to record without one.")
        return Recording(model, self.record)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A model that may be asked, and the limits."""

    model: Model | None
    limits: Limits
    pseudonyms: bool

    def dressed(self, found: Investigation) -> Model | None:
        """The model, behind pseudonyms for the names in this telemetry where they are wanted."""
        if self.model is None or not self.pseudonyms:
            return self.model
        from aetia.reason.models.pseudonymous import Pseudonymous
        from aetia.reason.redact import Pseudonyms

        names = found.facts.names
        return Pseudonymous(self.model, Pseudonyms([*names.services, *names.instances, *names.nodes]))


def pursued(
    found: Investigation,
    policy: str,
    ready: Ready,
    *,
    seed: int = 0,
    question: str = "",
    journal: Path | None = None,
    tell: Callable[[Event], None] | None = None,
    steers: Callable[[], Sequence[Steer]] = tuple,
    quiet: bool = False,
    recall: Recall | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[Investigation, list[Event]]:
    """Investigate, and answer the question where there is one; every event goes to the journal and to `tell`. Says on
    stderr what a model cost. Returns what was found, and the events."""
    from aetia.api import pursue
    from aetia.reason.fingerprints import LONGEST_NAME, quoted
    from aetia.reason.journals import JournalFile

    events: list[Event] = []
    listeners = [events.append] if tell is None else [events.append, tell]
    with ExitStack() as stack:
        if journal is not None:
            listeners.insert(0, stack.enter_context(JournalFile(journal)).write)

        def hear(event: Event) -> None:
            for listener in listeners:
                listener(event)

        found = pursue(found, policy, limits=ready.limits, seed=seed, model=ready.dressed(found), tell=hear,
                       steers=steers, question=question, options=options,
                       memory=recall.memory() if recall is not None else None,
                       system=quoted(recall.system, LONGEST_NAME) if recall is not None else "")  # fmt: skip
    if not quiet and (line := spent(events)):
        print(f"aetia: {line}", file=sys.stderr)
    if not quiet and journal is not None and not events:
        print(f"aetia: {journal} was not written: there is nothing to investigate without an answer to start from.",
              file=sys.stderr)  # fmt: skip
    return found, events


def spent(events: Sequence[Event]) -> str:
    """`3 turns of the model, 5 200 tokens in, 310 out, 0.0042 by the prices given`; empty where none was asked."""
    from aetia.model.journal import Answered, ModelAnswer
    from aetia.reason.journals import closed
    from aetia.report.wording import number

    turns = sum(isinstance(event, Answered) and isinstance(event.answer, ModelAnswer) for event in events)
    end = closed(events)
    if not turns or end is None:
        return ""
    cost = f", {end.cost:.4g} by the prices given" if end.cost is not None else ""
    noun = "turn" if turns == 1 else "turns"
    return f"{turns} {noun} of the model, {number(end.tokens_in)} tokens in, {number(end.tokens_out)} out{cost}"
