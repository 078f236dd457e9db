"""From the ledger to the diagnosis: probabilities of one ranking, and a path without gaps."""

from __future__ import annotations

import msgspec
import pytest

from aetia.model import entity
from aetia.model.diagnosis import Diagnosis, Hop, Hypothesis
from aetia.model.journal import Traced
from aetia.reason.conclusion import conclude
from aetia.reason.ledger import Ledger
from aetia.reason.policy import Desk, Limits

PATH = (
    Hop(source="stock", target="cart", relation="called by", onset_ns=7),
    Hop(source="cart", target="web", relation="x"),
)


def desk(*beliefs: float, hops: tuple[Traced, ...] = ()) -> Desk:
    names = ("stock", "cart", "web", "mail")[: len(beliefs)]
    hypotheses = tuple(
        Hypothesis(entity=entity.service(n), score=b, probability=b) for n, b in zip(names, beliefs, strict=True)
    )
    prior = Diagnosis(localizer="test", incident=None, hypotheses=hypotheses, roots=(0,), propagation=PATH)
    ledger = Ledger(lambda event: None)
    for item in hypotheses:
        ledger.propose(item.entity.name, item.entity, item.probability or 0.0, item)
    found = Desk(prior=prior, limits=Limits(), seed=0, ledger=ledger, note=lambda event: None)
    for hop in hops:
        found.trace(hop)
    return found


def seen(source: str, target: str, *, in_time: bool | None = True, in_direction: bool | None = True) -> Traced:
    return Traced(
        source=source, target=target, in_time=in_time, in_direction=in_direction, evidence="E1", reason="looked"
    )


@pytest.mark.parametrize("beliefs", [(0.9, 0.05), (0.9, 0.4, 0.2, 0.1), (0.99, 0.98)])
def test_probabilities_of_one_ranking_are_at_most_one_together_and_keep_their_order(beliefs: tuple[float, ...]) -> None:
    given = [item.probability or 0.0 for item in conclude(desk(*beliefs), "answered").hypotheses]
    assert sum(given) <= 1.0 + 1e-4 * len(given)
    assert given == sorted(given, reverse=True)
    assert given == list(beliefs) if sum(beliefs) <= 1.0 else given[-1] > 0.0


def test_a_hop_keeps_what_the_prior_knew_of_it() -> None:
    first, second = conclude(desk(0.9, hops=(seen("stock", "cart"), seen("cart", "web"))), "answered").propagation
    assert first == msgspec.structs.replace(PATH[0], evidence="E1")
    assert second.relation == "x"
    (new,) = conclude(desk(0.9, hops=(seen("node n1", "web"),)), "answered").propagation
    assert (new.source, new.relation, new.evidence) == ("node n1", "hosts", "E1")


@pytest.mark.parametrize("wrong", [{"in_time": False}, {"in_direction": False}])
def test_a_path_with_a_hop_that_was_ruled_out_is_not_shown_and_said(wrong: dict[str, bool]) -> None:
    found = conclude(desk(0.9, hops=(seen("stock", "cart", **wrong), seen("cart", "web"))), "answered")
    assert found.propagation == ()
    assert found.missing == ("how it spread: stock to cart was ruled out (looked)",)
