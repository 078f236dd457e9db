"""What investigations cost on the bench: by the prices that were given, else not at all."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from aetia import bench
from aetia.bench.runner import _priced
from aetia.ingest.case import write_case
from aetia.lab.sim.suites import generate
from aetia.lab.sim.system import make_system
from aetia.model.journal import Price

PRICE = Price(per_million_in=2.0, per_million_out=10.0)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("priced") / "suite"
    write_case(folder / "one", *next(generate(1, [make_system(6, 3)], 5, faults=["exception"], two_roots=0.0)))
    return folder


def test_cost_is_in_the_leaderboard_where_prices_are_given(suite: Path) -> None:
    priced = bench.run(suite, "explain", policies="rules", price=PRICE, jobs=1)
    plain = bench.run(suite, "explain", policies="rules", jobs=1)
    (of_priced,), (of_plain,) = ([r.investigations for r in run.results if r.investigations] for run in (priced, plain))
    assert (of_priced.cost_mean, of_plain.cost_mean) == (0.0, None)  # rules read no tokens
    assert priced.settings["price"] == {"per_million_in": 2.0, "per_million_out": 10.0}
    assert "cost" in bench.report(priced, format="markdown").split("What investigations cost")[1].split("|")[6]
    (row,) = [row for row in priced.cases if row.investigated is not None]
    spent = msgspec.structs.replace(row.investigated, tokens_in=50_000, tokens_out=1_000)
    (again,) = _priced([msgspec.structs.replace(row, investigated=spent)], PRICE)
    assert again.investigated is not None and again.investigated.cost == pytest.approx(0.11)
