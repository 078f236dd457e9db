"""What is usual at an hour of the week: learned block by block, used for what is borne and what is a loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from live_traffic import SECOND, START, Stream, Traffic, opened, quick, replace, watched

from aetia.detect._live_past import Saved, possible
from aetia.detect._live_usual import BLOCK_NS, HOUR_NS, Block, HoursOfWeek, Slot, slot_of
from aetia.detect.live import LiveSli
from aetia.model.window import Window

SHOP = Traffic()
OTHER = Traffic(service="blog", operation="GET /post", backend="files", instance="blog-1", rate=lambda t: 8.0)
DAY_NS = 24 * HOUR_NS


def learned(days: int, per_s: float = 20.0) -> HoursOfWeek:
    hours = HoursOfWeek()
    start = START - START % HOUR_NS
    for day in range(days):
        for block in range(24 * 12):
            at = start + day * DAY_NS + block * BLOCK_NS
            busy = 2.0 if block == 5 else 1.0
            hours.learn(
                "shop GET /buy",
                Block(start_ns=at, per_s=per_s * busy, failed=0.01, quantile_ms=[40.0, 60.0, 90.0 * busy]),
            )
    return hours


def test_an_hour_is_known_after_three_days_or_two_weeks() -> None:
    start = START - START % HOUR_NS
    assert learned(2).at("shop GET /buy", start) is None
    assert learned(4).at("shop GET /buy", start) is not None
    slot = learned(15).at("shop GET /buy", start + HOUR_NS // 2)
    assert slot is not None and slot.low_per_s == 20.0 and slot.quantile_ms == [40.0, 60.0, 180.0]
    assert learned(15).at("other", start) is None
    assert {slot_of(start + k * HOUR_NS) for k in range(168)} == set(range(168))


def test_a_fall_at_its_usual_hour_opens_nothing_and_another_does(tmp_path: Path) -> None:
    falling = replace(SHOP, rate=lambda t: 20.0 if t < 300 else 4.0)
    for usual, expected in ((4.0, 0), (18.0, 1)):
        slots = {
            hour: Slot(n=3, low_per_s=usual, mean_per_s=20.0, failed=0.002, quantile_ms=[40.0, 60.0, 90.0])
            for hour in range(168)
        }
        folder = tmp_path / str(usual)
        Saved(at_ns=START, hours=HoursOfWeek(slots={"shop GET /buy": slots})).write(folder)
        found = opened(watched(Stream([falling, OTHER]), 380, LiveSli(quick(), folder=folder)))
        assert len(found) == expected


def test_a_reference_without_failures_does_not_make_the_first_ones_an_incident() -> None:
    bound = possible(np.array([0.0, 0.0, 30.0, 0.0]), np.array([100.0, 10_000.0, 10_000.0, 0.0]))
    assert 0.03 < bound[0] < 0.05 and bound[1] < 0.001 and 0.003 < bound[2] < 0.005 and np.isnan(bound[3])
    steady = Stream([replace(SHOP, failed=lambda t: 0.004), OTHER])
    assert opened(watched(steady, 400, LiveSli(quick()))) == []


def test_the_hours_are_learned_again_from_stored_spans() -> None:
    start = START - START % HOUR_NS
    stream, live = Stream([SHOP]), LiveSli(quick())
    first = (start + HOUR_NS - START) // SECOND
    tables = [stream.tick(float(t)) for t in range(first, first + 3700, 60)]
    live.rebuild([pa.concat_tables(tables)])
    found = live.hours.hours["shop GET /buy"]
    assert len(found.blocks) >= 1 or live.hours.slots["shop GET /buy"]
    harmed = LiveSli(quick())
    harmed.rebuild([pa.concat_tables(tables)], [Window(START, START + 10 * HOUR_NS)])
    assert not harmed.hours.hours


def test_what_is_usual_is_written_and_read_back(tmp_path: Path) -> None:
    live = LiveSli(quick(), folder=tmp_path)
    for _ in watched(Stream([SHOP, OTHER]), 700, live):
        pass
    live.save(START + 700 * SECOND)
    saved = Saved.read(tmp_path)
    assert saved is not None and {known.entity.name for known in saved.known} == {"shop GET /buy", "blog GET /post"}
    assert saved.hours.hours["shop GET /buy"].blocks
    assert LiveSli(quick(), folder=tmp_path).stats().warm
