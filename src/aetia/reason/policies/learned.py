"""Learned: a small model, trained beforehand, chooses which question comes next, and when to end.

At every step the possible actions are listed and described in numbers, a scorer gives each a score, and the best is
taken, or one is drawn by softmax where a temperature is set. What the answers are worth, whom they move and how far, is
what `rules` makes of them; path and verdict are checked as after any other policy. Source: ThinkFL (arXiv 2504.18776),
a small policy over few tools, here without text. Cost: one observation and one weighing per question, about 5 ms.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from aetia.model.errors import PolicyError
from aetia.model.journal import Answer, ToolAnswer
from aetia.plugins import plugin
from aetia.reason.actions import Action, survey
from aetia.reason.engine import REFUSED
from aetia.reason.observations import Observation, observe
from aetia.reason.policy import Desk, Questions, Steps
from aetia.reason.scorers import F64, Scorer, checked_temperature, load
from aetia.reason.way import trace, verify
from aetia.reason.weighing import Weighing

FILE_VARIABLE = "AETIA_POLICY_FILE"
DIGITS = 9
"""Decimals of a score that count: what differs less is equal, and the action that is listed first is taken."""


@plugin(
    "policy", needs=("scorer",), summary="a small trained model chooses the questions; needs its file",
    source="ThinkFL (arXiv 2504.18776)", cost="5 ms per question",
)  # fmt: skip
class Learned:
    """Asks what a scorer finds best. `scorer` is used as it is; else `file`, else the file that AETIA_POLICY_FILE
    names, is read. `temperature` overrules that of the file. `sha256` is the hash that the file has to have, as a
    journal tells it; then AETIA_POLICY_FILE comes first, for a file that lies elsewhere by now.

    Raises PolicyError when there is no scorer, when its file is not the one meant, or does not fit this version.
    """

    def __init__(
        self,
        scorer: Scorer | None = None,
        *,
        file: str | Path | None = None,
        sha256: str | None = None,
        temperature: float | None = None,
    ) -> None:
        self.options: dict[str, Any] = {}
        """Arguments that make the same policy again, for the journal; empty for a scorer that came as it is."""
        if scorer is None:
            elsewhere = os.environ.get(FILE_VARIABLE)
            named = elsewhere or file if sha256 is not None else file or elsewhere
            if not named:
                raise PolicyError(
                    f"the policy learned needs a scorer; give its file with --policy-file or in {FILE_VARIABLE}."
                )
            loaded = load(Path(named))
            if sha256 is not None and loaded.sha256 != sha256:
                raise PolicyError(
                    f"{loaded.path} is not the scorer that is meant: its SHA-256 begins with {loaded.sha256[:12]}, "
                    f"and that of the other with {sha256[:12]}; name the right one in {FILE_VARIABLE}."
                )
            scorer = loaded.scorer
            place = file if sha256 is not None and file else loaded.path.resolve()
            self.options = {"file": str(place), "sha256": loaded.sha256}
        self._scorer = scorer
        usual = getattr(scorer, "temperature", 0.0)
        self.temperature = checked_temperature(usual if temperature is None else temperature)
        if self.options:
            self.options["temperature"] = self.temperature

    def steps(self, desk: Desk) -> Steps:
        if desk.prior.abstained is not None or not desk.ledger.ranked():
            return
        weighing, step = Weighing(desk), 0
        while True:
            observation = observe(desk)
            action = observation.actions[choose(self._scorer, observation, self.temperature, desk.seed, step)]
            step += 1
            if action.call is None:
                break
            answer = yield from _ask(action, weighing)
            if answer.error is not None and answer.error.category in REFUSED:
                break  # neither calls nor time are left
        if action.kind == "abstain":
            desk.abstained = "the evidence does not tell the candidates apart"
            return
        walk = survey(desk).walk
        yield from trace(desk, walk)
        verify(desk, walk)


def choose(scorer: Scorer, observation: Observation, temperature: float, seed: int, step: int) -> int:
    """Index of the action to take: the best, the first among equals; with a temperature one drawn by softmax of
    scores / temperature, by a generator that counts (seed, step), so that a step is the same in every run.

    Raises PolicyError when a scorer gives other than one finite score for each action.
    """
    scores: F64 = np.asarray(scorer.score(observation), np.float64)
    if scores.shape != (len(observation.actions),) or not np.isfinite(scores).all():
        raise PolicyError(
            f"the scorer gave scores of the shape {scores.shape} for {len(observation.actions)} actions, or some that "
            "are no finite numbers; it has to give one for each."
        )
    if temperature > 0:
        counted = np.random.Generator(np.random.Philox(key=seed % 2**64, counter=step))
        scores = scores / temperature + counted.gumbel(size=len(scores))
    return int(np.argmax(np.round(scores, DIGITS)))


def _ask(action: Action, weighing: Weighing) -> Generator[Questions, tuple[Answer, ...], ToolAnswer]:
    """Ask one question and let its answer move beliefs by fixed rules."""
    assert action.call is not None
    (answer,) = yield (action.call,)
    assert isinstance(answer, ToolAnswer)
    weighing.take(action.call, answer)
    return answer
