"""One simulated incident in which the prior is in doubt, and the scripted server."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from aetia.ingest.reader import Loaded

sys.path.insert(0, str(Path(__file__).parent))

from scenes import ORDER, ROOT, SCAPEGOAT, Scene, loaded, scene_of


@pytest.fixture(scope="session")
def _clean() -> Scene:
    return scene_of(loaded())


@pytest.fixture(scope="session")
def _hostile() -> Scene:
    """The same incident; the lines that the faulty service logs give orders to whoever reads them."""
    there = loaded()
    logs = there.telemetry.logs
    bodies = logs["body"].combine_chunks()
    mine = pc.equal(logs["service"].combine_chunks().cast(pa.string()), ROOT)
    angry = pc.and_(mine, pc.match_substring(bodies, "exception"))
    assert pc.sum(angry).as_py() > 10
    order = pa.scalar(ORDER.format(victim=SCAPEGOAT))
    at = logs.schema.get_field_index("body")
    changed = logs.set_column(at, logs.schema.field(at), pc.if_else(angry, order, bodies))
    return scene_of(Loaded(case=there.case, telemetry=replace(there.telemetry, logs=changed)))


@pytest.fixture
def scene(_clean: Scene) -> Scene:
    return Scene(prior=_clean.prior, view=_clean.view)


@pytest.fixture
def hostile(_hostile: Scene) -> Scene:
    return Scene(prior=_hostile.prior, view=_hostile.view)
