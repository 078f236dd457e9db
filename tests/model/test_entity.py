"""Entities name a place, and the service that answers for it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aetia.model import entity
from aetia.model.entity import Entity

NAMES = st.text(min_size=1, max_size=20)


@given(NAMES, NAMES, NAMES)
def test_every_kind_of_entity_survives_json(first: str, second: str, third: str) -> None:
    places = (
        entity.service(first), entity.external(first), entity.instance(first, second, third), entity.node(first),
        entity.operation(first, second), entity.edge(first, second), entity.edge(first, second, first, third),
    )  # fmt: skip
    for place in places:
        assert msgspec.json.decode(msgspec.json.encode(place), type=Entity) == place
    assert len(set(places)) == len(places)


def test_somebody_answers_for_everything_but_a_node() -> None:
    assert entity.service("a").service == "a"
    assert entity.external("db").service == "db"
    assert entity.instance("a-1", "a").service == "a"
    assert entity.operation("a", "GET /").service == "a"
    assert entity.node("n").service is None and entity.node("n").node == "n"


def test_the_callee_answers_for_an_edge_unless_the_caller_is_blamed() -> None:
    assert entity.edge("a", "b").service == "b"
    assert entity.edge("a", "b", blamed="a").service == "a"
    assert entity.edge("a", "b").name == "a → b" == str(entity.edge("a", "b")).removeprefix("edge ")


def test_entities_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        entity.service("a").name = "b"  # type: ignore[misc]


def test_what_is_unknown_is_left_out_of_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(entity.service("a"))) == {
        "level": "service",
        "name": "a",
        "service": "a",
    }


def test_a_level_that_does_not_exist_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"level": "planet", "name": "a"}', type=Entity)
