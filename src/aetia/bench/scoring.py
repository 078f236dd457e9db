"""Scores one typed answer against the truth of its case, and averages such scores. Pure functions, no I/O.

Definitions
-----------
* The *name* of a hypothesis is the service that answers for it, or the node's name for a node. Several
  hypotheses of one name count once, with the best score.
* Ties are pessimistic: equal scores share the worst rank. A score that is not a number ranks last.
* `AC@k` of a case is the share of its true roots within the first k names (recall). With one root it is hit
  or miss; with two roots AC@1 can be at most one half. Unlike precision-like averages it cannot give full
  marks to half an answer, and it never falls when k grows.
* `Avg@5` is the mean of AC@1 .. AC@5. `MRR` takes the best-ranked true root, 0 when there is none.
* All means run over every requested case with a fault: an empty answer, an abstention, an exception, a time-
  out and an incident that was never detected are misses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from aetia.model.case import Case, Truth
from aetia.model.diagnosis import Hypothesis
from aetia.model.entity import Entity
from aetia.model.faults import FAULT_CLASSES, class_of

CaseKind = Literal["fault", "no_fault", "absorbed", "unlabelled"]
Outcome = Literal["answered", "abstained", "empty", "failed", "no_incident", "unapplied"]
FailureKind = Literal["exception", "timeout", "died", "invalid", "load", "detect"]
TOP_KEPT = 10
FAULT_FREE_LABELS = ("no_fault", "load_surge", "deploy")


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no answer: what happened, the type and text of the error, and where it was raised."""

    kind: FailureKind
    type: str
    message: str = ""
    where: str = ""

    def __str__(self) -> str:
        text = f"{self.kind}: {self.type}: {self.message}" if self.message else f"{self.kind}: {self.type}"
        return f"{text} ({self.where})" if self.where else text


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a localizer said about a case, or why it said nothing.

    `no_incident` is set when no incident was detected, so that nothing was asked; `unapplied` when the
    perturbation cannot be applied to this case (nobody was asked, the case does not count for anyone).
    A policy's answer also has the `path` of the propagation, as edges that exist, and the services of the `entries`
    whose SLI broke.
    """

    hypotheses: tuple[Hypothesis, ...] = ()
    roots: tuple[int, ...] = ()
    abstained: str | None = None
    failure: Failure | None = None
    no_incident: bool = False
    unapplied: str | None = None
    path: tuple[tuple[str, str], ...] = ()
    entries: tuple[str, ...] = ()


class ClassCall(msgspec.Struct, frozen=True, array_like=True):
    """One true fault class, the class that was named for it, and whether the root itself was found."""

    true: str
    named: str | None
    located: bool


class Score(msgspec.Struct, kw_only=True):
    """How one answer did. `ranks` holds the pessimistic rank of each distinct true root, None when not
    named."""

    kind: CaseKind
    outcome: Outcome
    cluster: str
    truth: tuple[str, ...] = ()
    fault: str | None = None
    fault_class: str | None = None
    ranks: tuple[int | None, ...] = ()
    top: tuple[str, ...] = ()
    predicted: tuple[str, ...] = ()
    exact: bool = False
    classes: tuple[ClassCall, ...] = ()
    levels: dict[str, bool] = {}
    confidence: float | None = None
    correct: bool = False
    error: str | None = None
    failure: Failure | None = None

    @property
    def best_rank(self) -> int | None:
        return min((rank for rank in self.ranks if rank is not None), default=None)


class Ranked(NamedTuple):
    """One name of a de-duplicated ranking with its pessimistic rank; `hypothesis` is None when several of the
    name share the best score and so no single finer entity is meant."""

    name: str
    rank: int
    hypothesis: Hypothesis
    ambiguous: bool


def name_of(entity: Entity) -> str:
    """The name under which an entity is ranked at service level."""
    return entity.service if entity.service is not None else entity.name


def rank(hypotheses: Iterable[Hypothesis]) -> list[Ranked]:
    """Distinct names, best first, with pessimistic ranks (1 = most suspicious); order of input decides
    nothing but the order among equals."""
    best: dict[str, Hypothesis] = {}
    shared: dict[str, bool] = {}
    for hypothesis in hypotheses:
        name = name_of(hypothesis.entity)
        held = best.get(name)
        if held is None or _key(hypothesis) > _key(held):
            best[name], shared[name] = hypothesis, False
        elif _key(hypothesis) == _key(held) and hypothesis.entity != held.entity:
            shared[name] = True
    ordered = sorted(best.items(), key=lambda item: -_key(item[1]))
    scores = np.array([_key(hypothesis) for _, hypothesis in ordered])
    # Scores fall along the list: the worst rank among equals is the number of scores that are not below.
    ranks = np.searchsorted(-scores, -scores, side="right") if len(scores) else scores
    return [
        Ranked(name, int(position), hypothesis, shared[name])
        for (name, hypothesis), position in zip(ordered, ranks, strict=True)
    ]


def _key(hypothesis: Hypothesis) -> float:
    return -math.inf if math.isnan(hypothesis.score) else hypothesis.score


def truth_name(truth: Truth) -> str | None:
    """What a true root is called at service level; None when the truth names no place."""
    if truth.service is not None:
        return truth.service
    if truth.node is not None:
        return truth.node
    if truth.edge is not None:
        return " → ".join(truth.edge)
    return truth.instance or truth.operation


def names_root(truth: Truth, entity: Entity) -> bool:
    """Whether an entity names the true root at service level (its node, or either end of the edge, where the
    truth knows no service)."""
    name = name_of(entity)
    if truth.service is not None:
        return name == truth.service
    if truth.node is not None:
        return entity.level == "node" and truth.node in (entity.node, entity.name)
    if truth.edge is not None:
        return name in truth.edge
    if truth.instance is not None:
        return truth.instance in (entity.instance, entity.name)
    return truth.operation is not None and truth.operation == entity.operation


def kind_of(case: Case) -> CaseKind:
    """`fault` counts in AC@k; `no_fault` and `absorbed` are cases where silence is right; the rest is not
    scored."""
    if case.label in FAULT_FREE_LABELS and not case.truth:
        return "no_fault"
    if case.truth is None:
        return "unlabelled"
    if not case.truth:
        return "no_fault"
    if not distinct_roots(case.truth):
        return "unlabelled"
    return "absorbed" if case.label == "absorbed" else "fault"


def distinct_roots(truth: Iterable[Truth]) -> list[Truth]:
    """The true roots that name a place, one per name."""
    roots: dict[str, Truth] = {}
    for item in truth:
        name = truth_name(item)
        if name is not None:
            roots.setdefault(name, item)
    return list(roots.values())


def cluster_of(case: Case) -> str:
    """Repetitions of one fault on one service of one system are not independent: they form one cluster."""
    roots = distinct_roots(case.truth or ())
    places = "+".join(sorted(truth_name(root) or "" for root in roots))
    faults = "+".join(sorted({root.fault or root.fault_class or "" for root in roots}))
    return f"{case.system}|{places}|{faults}" if roots else f"{case.system}|{case.label or 'no_fault'}|{case.id}"


def score_answer(answer: Answer, case: Case) -> Score:
    """The score of one answer. An answer whose `roots` point outside its hypotheses is a failure."""
    kind, roots = kind_of(case), distinct_roots(case.truth or ())
    failure = answer.failure or _invalid(answer)
    outcome = _outcome(answer, failure)
    faults = {root.fault for root in roots}
    classes = {_true_class(root) for root in roots}
    score = Score(
        kind=kind, outcome=outcome, cluster=cluster_of(case), failure=failure,
        truth=tuple(truth_name(root) or "" for root in roots),
        fault=faults.pop() if len(faults) == 1 else ("mixed" if faults else None),
        fault_class=classes.pop() if len(classes) == 1 else ("mixed" if classes else None),
        ranks=(None,) * len(roots), error=str(failure) if failure else answer.unapplied,
        classes=tuple(ClassCall(c, None, False) for c in map(_true_class, roots) if c is not None),
        levels={level: False for root in roots for level in _named_levels(root)},
    )  # fmt: skip
    if outcome == "answered":
        _fill(score, answer, roots)
    return score


def _invalid(answer: Answer) -> Failure | None:
    if all(0 <= index < len(answer.hypotheses) for index in answer.roots):
        return None
    return Failure(
        kind="invalid",
        type="InvalidAnswer",
        message=f"roots {answer.roots} point outside {len(answer.hypotheses)} hypotheses",
    )


def _outcome(answer: Answer, failure: Failure | None) -> Outcome:
    if answer.unapplied is not None:
        return "unapplied"
    if failure is not None:
        return "failed"
    if answer.no_incident:
        return "no_incident"
    if answer.abstained is not None:
        return "abstained"
    return "answered" if answer.hypotheses else "empty"


def _fill(score: Score, answer: Answer, roots: list[Truth]) -> None:
    """Ranks, exact set, classes, levels and confidence of an answer that names something."""
    ranking = rank(answer.hypotheses)
    found = [next((item for item in ranking if names_root(root, item.hypothesis.entity)), None) for root in roots]
    predicted = {name_of(answer.hypotheses[index].entity): answer.hypotheses[index].entity for index in answer.roots}
    score.ranks = tuple(item.rank if item else None for item in found)
    score.top = tuple(item.name for item in ranking[:TOP_KEPT])
    score.predicted = tuple(sorted(predicted))
    score.exact = bool(roots) and _same_set(roots, list(predicted.values()))
    score.classes = _class_calls(roots, found, ranking)
    score.levels = _level_hits(roots, found)
    score.confidence = ranking[0].hypothesis.probability
    score.correct = score.kind != "no_fault" and score.best_rank == 1


def _same_set(roots: list[Truth], predicted: list[Entity]) -> bool:
    return (
        len(roots) == len(predicted)
        and all(any(names_root(root, entity) for entity in predicted) for root in roots)
        and all(any(names_root(root, entity) for root in roots) for entity in predicted)
    )


def _true_class(truth: Truth) -> str | None:
    return truth.fault_class or class_of(truth.fault)


def _class_calls(roots: list[Truth], found: list[Ranked | None], ranking: list[Ranked]) -> tuple[ClassCall, ...]:
    """Per true root the class named for it. A root is located within the first m names, m = number of roots;
    a root that is not located is charged with the class that was named for a wrong place instead."""
    located = {item.name for item in found if item is not None and item.rank <= len(roots)}
    wrong = [item for item in ranking[: len(roots)] if item.name not in located]
    calls: list[ClassCall] = []
    for root, item in zip(roots, found, strict=True):
        true = _true_class(root)
        hit = item is not None and item.name in located
        named = item if hit else (wrong.pop(0) if wrong else None)
        if true is not None:
            calls.append(ClassCall(true, named.hypothesis.fault_class if named else None, hit))
    return tuple(calls)


def _named_levels(truth: Truth) -> tuple[str, ...]:
    levels = ("instance", "node", "operation", "edge")
    return tuple(level for level in levels if getattr(truth, level) is not None)


def _level_hits(roots: list[Truth], found: list[Ranked | None]) -> dict[str, bool]:
    """Whether the finer place was named too, by the one best hypothesis of a root that ranks within the first
    m. With several roots all of those that name the level must be hit."""
    hits: dict[str, bool] = {}
    for root, item in zip(roots, found, strict=True):
        for level in _named_levels(root):
            hit = item is not None and item.rank <= len(roots) and not item.ambiguous
            hit = hit and item is not None and _level_value(item.hypothesis.entity, level) == getattr(root, level)
            hits[level] = hits.get(level, True) and hit
    return hits


def _level_value(entity: Entity, level: str) -> object:
    if level == "edge":
        return (entity.caller, entity.callee)
    return getattr(entity, level)


# ------------------------------------------------------------------------------------------- averages


def counts_in_recall(score: Score) -> bool:
    """Whether a score is in the denominator of AC@k: a requested case with a fault."""
    return score.kind == "fault" and score.outcome != "unapplied"


def counted(scores: Sequence[Score]) -> list[Score]:
    """The scores in the denominator of AC@k: every requested case with a fault."""
    return [score for score in scores if counts_in_recall(score)]


def recall_at(score: Score, k: int) -> float:
    """Share of the true roots within the first k names, 0..1."""
    return sum(rank is not None and rank <= k for rank in score.ranks) / len(score.ranks)


def reciprocal_rank(score: Score) -> float:
    best = score.best_rank
    return 1.0 / best if best is not None else 0.0


def case_values(scores: Sequence[Score]) -> dict[str, NDArray[np.float64]]:
    """Per-case values in 0..1, shape (n,), of each averaged metric; `scores` are counted fault cases."""
    recall = np.array([[recall_at(score, k) for k in range(1, 6)] for score in scores]).reshape(-1, 5)
    return {
        "ac1": recall[:, 0], "ac3": recall[:, 2], "ac5": recall[:, 4], "avg5": recall.mean(axis=1),
        "mrr": np.array([reciprocal_rank(score) for score in scores], dtype=np.float64),
        "exact_set": np.array([score.exact for score in scores], dtype=np.float64),
    }  # fmt: skip


def class_counts(score: Score) -> NDArray[np.float64]:
    """Shape (3, 6): true positives, false positives and false negatives per fault class. A wrong place counts
    as a wrong class, whatever class was named for it."""
    counts = np.zeros((3, len(FAULT_CLASSES)))
    for call in score.classes:
        if call.true not in FAULT_CLASSES:
            continue
        if call.located and call.named == call.true:
            counts[0, FAULT_CLASSES.index(call.true)] += 1
            continue
        counts[2, FAULT_CLASSES.index(call.true)] += 1
        if call.named in FAULT_CLASSES:
            counts[1, FAULT_CLASSES.index(call.named)] += 1
    return counts


def macro_f1(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Macro-F1 of class counts, shape (..., 3, 6) → (...): mean of F1 over the classes that occur in the
    truth; NaN where none does."""
    hit, wrong, missed = counts[..., 0, :], counts[..., 1, :], counts[..., 2, :]
    occurs = (hit + missed) > 0
    f1 = 2 * hit / np.maximum(2 * hit + wrong + missed, 1e-12)
    total = occurs.sum(axis=-1)
    return np.where(total > 0, (f1 * occurs).sum(axis=-1) / np.maximum(total, 1), np.nan)


def metrics(scores: Sequence[Score]) -> dict[str, float]:
    """All averaged metrics over the fault cases; empty when there is none."""
    cases = counted(scores)
    if not cases:
        return {}
    values = {name: float(array.mean()) for name, array in case_values(cases).items()}
    values["fault_class_f1"] = float(macro_f1(np.sum([class_counts(score) for score in cases], axis=0)))
    return values
