"""What a learned policy makes of imitating `rules`: behaviour cloning, then incidents of systems that it never saw.

    python bench/imitate_rules.py [--cases 6] [--train 4101 4102] [--test 4201] [--write FILE] [--json FILE]

Draws the hard cases of `bench/hard_cases.py` and as many ordinary ones from the simulator, runs `rules` on those of the
training seeds, turns its journals into transitions, and fits a linear scorer by softmax regression: the action that
was taken against all others that could have been. Then prints, on cases of the test seeds, whose systems are others:
AC@1 of the prior, of `rules` and of `learned` with that scorer, the questions that each asked, and how often the
scorer would have done what `rules` did. Abstentions count as misses.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from _hard_draw import KINDS, Hard, hard_cases
from aetia import api
from aetia.bench.intervals import mcnemar
from aetia.bench.scoring import name_of
from aetia.ingest.reader import Loaded
from aetia.lab.sim.suites import generate
from aetia.model.diagnosis import Diagnosis
from aetia.model.journal import Asked, Event
from aetia.reason.observations import F64, NAMES
from aetia.reason.policies.learned import Learned
from aetia.reason.policies.rules import Rules
from aetia.reason.policy import Policy
from aetia.reason.run import run
from aetia.reason.scorers import Network, linear, save
from aetia.reason.toolbox import ViewTools
from aetia.reason.transitions import transitions

SYSTEMS, SERVICES = 5, (6, 40)
RIDGE, ROUNDS, RATE = 1e-3, 400, 0.05


class Steps(NamedTuple):
    """Steps of many journals: rows of all actions one below the other, where each step begins, and which was taken."""

    rows: F64
    begins: np.ndarray
    taken: np.ndarray


class Row(NamedTuple):
    """One case: who was right at the first name, and how many questions were asked."""

    kind: str
    case: str
    prior: float
    rules: float
    learned: float
    rules_asked: int
    learned_asked: int


def cases(each: int, seeds: Iterable[int]) -> Iterator[Hard]:
    """Hard cases and as many ordinary ones."""
    for seed in seeds:
        yield from hard_cases(each, seed)
        for case, telemetry in generate(each * len(KINDS), SYSTEMS, seed + 50_000, services=SERVICES):
            if case.truth:
                yield Hard(kind="ordinary", case=case, telemetry=telemetry, whole=telemetry)


def pursued(found: api.Investigation, policy: Policy, name: str) -> tuple[Diagnosis, list[Event]]:
    """One investigation; the prior itself where it has nothing to start from."""
    events: list[Event] = []
    if found.view is None or found.diagnosis.abstained is not None:
        return found.diagnosis, events
    return run(found.diagnosis, policy, ViewTools(found.view), name=name, tell=events.append), events


def collect(drawn: Iterable[Hard]) -> Steps:
    """What `rules` did, step by step."""
    rows: list[F64] = []
    taken: list[int] = []
    for hard in drawn:
        _, events = pursued(api.investigate(Loaded(case=hard.case, telemetry=hard.telemetry)), Rules(), "rules")
        for step in transitions(events) if events else ():
            if step.taken is not None:
                taken.append(sum(map(len, rows[len(taken) :])) + step.taken)
                rows.append(step.observation.values)
    begins = np.cumsum([0, *(len(one) for one in rows[:-1])])
    return Steps(np.concatenate(rows), begins, begins + np.array(taken))


def fit(steps: Steps) -> Network:
    """A linear scorer by softmax regression with a ridge, by Adam on all steps at once. Features are scaled to unit
    variance; those that never change get no weight."""
    mean, spread = steps.rows.mean(axis=0), steps.rows.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    x = ((steps.rows - mean) / scale).astype(np.float32)
    lengths = np.diff([*steps.begins, len(x)])
    wanted = x[steps.taken].mean(axis=0, dtype=np.float64)
    weights, first, second = (np.zeros(x.shape[1]) for _ in range(3))
    for number in range(1, ROUNDS + 1):
        chance = chances(x @ weights.astype(np.float32), steps.begins, lengths)
        gradient = (chance @ x) / len(lengths) - wanted + RIDGE * weights
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        weights -= RATE * (first / (1 - 0.9**number)) / (np.sqrt(second / (1 - 0.999**number)) + 1e-8)
    about = {"method": "behaviour cloning of rules, softmax regression", "steps": len(lengths)}
    return linear(weights, mean=mean, scale=scale, about=about)


def chances(scores: np.ndarray, begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Softmax within each step."""
    shifted = np.exp(scores - np.repeat(np.maximum.reduceat(scores, begins), lengths))
    return shifted / np.repeat(np.add.reduceat(shifted, begins), lengths)


def agreement(network: Network, steps: Steps) -> tuple[float, float]:
    """Share of the steps at which the scorer's first choice is what `rules` did, and mean chance that it gave to it."""
    scores = ((steps.rows - network.mean) / network.scale) @ network.layers[0].weights[0]
    lengths = np.diff([*steps.begins, len(scores)])
    best = np.repeat(np.maximum.reduceat(scores, steps.begins), lengths)
    given = chances(scores, steps.begins, lengths)[steps.taken]
    return float((scores == best)[steps.taken].mean()), float(given.mean())


def measure(hard: Hard, network: Network) -> Row:
    """Prior, `rules` and `learned` on one case."""
    found = api.investigate(Loaded(case=hard.case, telemetry=hard.telemetry))
    ruled, of_rules = pursued(found, Rules(), "rules")
    then, of_learned = pursued(found, Learned(network), "learned")
    truth = {root.service or root.node or "" for root in hard.case.truth or ()}
    right = [_right(one, truth) for one in (found.diagnosis, ruled, then)]
    return Row(hard.kind, hard.case.id, *right, _asked(of_rules), _asked(of_learned))


def _right(diagnosis: Diagnosis, truth: set[str]) -> float:
    named = name_of(diagnosis.hypotheses[0].entity) if diagnosis.hypotheses else None
    return (named in truth) / len(truth)


def _asked(events: list[Event]) -> int:
    return sum(isinstance(event, Asked) for event in events)


def summary(rows: list[Row]) -> list[str]:
    """A line per kind and one for all, then the paired differences from the prior."""
    head = ("n", "prior", "rules", "learned", "asked", "asked")
    lines = [f"{'kind':<16}" + "".join(f"{word:>9}" for word in head), " " * 52 + "by rules  learned"]
    kinds = sorted({row.kind for row in rows})
    for kind, some in [*((kind, [row for row in rows if row.kind == kind]) for kind in kinds), ("all", rows)]:
        shares = [f"{np.mean([getattr(row, name) for row in some]):.3f}" for name in ("prior", "rules", "learned")]
        asked = [f"{np.mean([getattr(row, name) for row in some]):.1f}" for name in ("rules_asked", "learned_asked")]
        lines.append(f"{kind:<16}" + "".join(f"{cell:>9}" for cell in (len(some), *shares, *asked)))
    for name in ("rules", "learned"):
        gain = np.array([getattr(row, name) - row.prior for row in rows])
        low, high = np.quantile(np.random.default_rng(0).choice(gain, (2000, len(gain))).mean(axis=1), [0.025, 0.975])
        won, lost = int((gain > 0).sum()), int((gain < 0).sum())
        lines.append(f"{name} against the prior {gain.mean():+.3f} [{low:+.3f}, {high:+.3f}], {won} won, {lost} lost, "
                     f"McNemar p {mcnemar(won, lost):.2g}")  # fmt: skip
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=6, help="cases of each hard kind and seed")
    parser.add_argument("--train", type=int, nargs="+", default=[4101, 4102])
    parser.add_argument("--test", type=int, nargs="+", default=[4201])
    parser.add_argument("--write", type=Path, help="keep the scorer in this file")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    steps = collect(cases(options.cases, options.train))
    network = fit(steps)
    hit, chance = agreement(network, steps)
    print(f"{len(steps.begins)} steps of rules, {len(steps.rows) / len(steps.begins):.0f} actions each; on them the "
          f"scorer does the same in {hit:.0%} (mean chance {chance:.2f})")  # fmt: skip
    heavy = sorted(zip(NAMES, network.layers[0].weights[0].tolist(), strict=True), key=lambda one: -abs(one[1]))[:12]
    print("largest weights: " + ", ".join(f"{name} {weight:+.1f}" for name, weight in heavy))
    if options.write is not None:
        print(f"{options.write}: SHA-256 {save(options.write, network)}")
    rows = [measure(hard, network) for hard in itertools.chain(cases(options.cases, options.test))]
    print("\n".join(summary(rows)))
    if options.json is not None:
        options.json.write_text(json.dumps([row._asdict() for row in rows], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
