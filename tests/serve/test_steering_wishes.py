"""Wishes of people: kept beside the incident, counted, taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from aetia.model.errors import StoreError, UsageError
from aetia.model.journal import Steer
from aetia.serve.wishes import FILE, MOST, Wishes


def test_wishes_outlive_the_process_and_can_be_taken_back(tmp_path: Path) -> None:
    place = tmp_path / "i-1"
    first = Wishes().add(place, Steer(wish="exclude", entity="cart"), 5, "anna")
    again = Wishes().add(place, Steer(wish="exclude", entity="cart"), 9, "ben")
    second = Wishes().add(place, Steer(wish="look_at", entity="db"), 9)
    assert again == first and (first.number, first.by, second.number) == (1, "anna", 2)
    assert [wish.steer for wish in Wishes().of(place)] == [first.steer, second.steer]
    assert Wishes().withdraw(place, 1) == first and Wishes().withdraw(place, 1) is None
    assert Wishes().add(place, Steer(wish="look_at", entity="cart"), 9).number == 3  # a number is never given twice
    assert (place / FILE).stat().st_mode & 0o077 == 0


def test_there_is_an_end_to_wishing(tmp_path: Path) -> None:
    wishes = Wishes()
    for number in range(MOST):
        wishes.add(tmp_path, Steer(wish="exclude", entity=f"s{number}"), 1)
    with pytest.raises(UsageError, match="take one back"):
        wishes.add(tmp_path, Steer(wish="exclude", entity="one more"), 1)


def test_a_damaged_file_holds_no_wishes(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    assert Wishes().of(tmp_path) == ()
    (tmp_path / FILE).unlink()
    (tmp_path / f"{FILE}.new").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        Wishes().add(tmp_path, Steer(wish="exclude", entity="cart"), 1)
