"""Detection on a stream: what opens, when, and what does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from live_traffic import SECOND, START, Stream, Traffic, between, opened, quick, replace, spans, watched

from aetia.detect.live import LiveSli, Objective
from aetia.detect.objectives import read_objectives
from aetia.model.errors import UsageError

SHOP = Traffic()
OTHER = Traffic(service="blog", operation="GET /post", backend="files", instance="blog-1", rate=lambda t: 8.0)


def test_opens_when_requests_fail_and_tells_when_it_began_and_ended() -> None:
    stream = Stream([replace(SHOP, failed=between(300, 420, 0.4, 0.002))])
    history = list(watched(stream, 520, LiveSli(quick())))
    [(at, first)] = opened(iter(history))
    assert 300 < at <= 330
    assert first.ended_ns is None and first.level == "critical"
    assert [(b.entry.name, b.sli) for b in first.breaches] == [("shop GET /buy", "success")]
    last = history[-1][1][0]
    assert last.ended_ns is not None
    assert abs((last.onset_ns - START) / SECOND - 300) < 8 and abs((last.ended_ns - START) / SECOND - 420) < 10
    assert last.baseline.end_ns <= last.onset_ns and last.baseline.seconds >= 60


def test_opens_when_requests_are_slow() -> None:
    stream = Stream([replace(SHOP, took_ms=between(300, 400, 400.0, 40.0))])
    [(at, first)] = opened(watched(stream, 340, LiveSli(quick())))
    assert 300 < at <= 330
    assert {b.sli for b in first.breaches} == {"latency"}


def test_opens_when_requests_stay_away_while_others_are_heard_of() -> None:
    stream = Stream([replace(SHOP, rate=between(300, 400, 0.0, 20.0)), OTHER])
    [(at, first)] = opened(watched(stream, 340, LiveSli(quick())))
    assert 300 < at <= 335
    assert [(b.entry.name, b.sli) for b in first.breaches] == [("shop GET /buy", "throughput")]


def test_opens_nothing_when_all_telemetry_stops() -> None:
    stream = Stream(
        [replace(SHOP, rate=between(300, 420, 0.0, 20.0)), replace(OTHER, rate=between(300, 420, 0.0, 8.0))]
    )
    assert opened(watched(stream, 600, LiveSli(quick()))) == []


def test_opens_when_spans_stop_and_logs_go_on() -> None:
    stream, live = Stream([replace(SHOP, rate=between(300, 420, 0.0, 20.0))]), LiveSli(quick())
    found = []
    for t, candidates in watched(stream, 340, live):
        live.alive()
        found += [(t, candidate.breaches[0].sli) for candidate in candidates]
    assert found and found[0][0] <= 335 and {sli for _, sli in found} == {"throughput"}


def test_opens_nothing_while_load_rises_and_falls() -> None:
    def rate(t: float) -> float:
        day = 20.0 * (1.2 + np.sin(2 * np.pi * t / 1500))
        surge = 3.0 if 400 <= t < 700 or 1000 <= t < 1060 else 1.0
        return float(day * surge)

    assert opened(watched(Stream([replace(SHOP, rate=rate), OTHER]), 1500)) == []


def test_a_clock_that_is_minutes_off_neither_opens_nor_stalls() -> None:
    ahead = replace(SHOP, instance="shop-2", clock_s=240.0)
    behind = replace(SHOP, instance="shop-3", clock_s=-240.0)
    live = LiveSli(quick())
    stream = Stream([SHOP, ahead, behind, OTHER])
    assert opened(watched(stream, 400, live)) == []
    assert live.stats().delay_s <= 15


def test_a_clock_that_jumps_is_no_loss() -> None:
    live, stream = LiveSli(quick()), Stream([SHOP, OTHER])
    assert opened(watched(stream, 300, live)) == []
    stream.traffic = [replace(SHOP, clock_s=-180.0), OTHER]
    assert opened(watched(stream, 300, live, since=300)) == []


def test_a_clock_that_is_off_hides_no_failures() -> None:
    skewed = replace(SHOP, clock_s=-240.0, failed=between(300, 420, 0.4, 0.002))
    [(at, _)] = opened(watched(Stream([skewed, OTHER]), 345, LiveSli(quick())))
    assert 300 < at <= 335


def test_spans_that_are_minutes_late_open_nothing() -> None:
    def late(rng: np.random.Generator, n: int) -> np.ndarray:
        return np.where(rng.random(n) < 0.2, rng.uniform(10, 150, n), 0.0)

    assert opened(watched(Stream([replace(SHOP, late_s=late), OTHER]), 400, LiveSli(quick()))) == []


def test_counts_a_span_that_comes_twice_once() -> None:
    stream, live = Stream([SHOP]), LiveSli()
    table = stream.tick(10.0)
    live.add(table)
    live.tick(START + 10 * SECOND)
    live.add(pa.concat_tables([table, table]))
    live.tick(START + 15 * SECOND)
    assert live.stats().requests == table.num_rows // 2
    assert live.stats().duplicates == table.num_rows


def test_two_systems_that_share_nothing_are_two_incidents_and_one_shared_service_makes_one() -> None:
    hurt = between(300, 420, 0.4, 0.002)
    apart = [replace(SHOP, failed=hurt), replace(OTHER, failed=hurt)]
    assert len(opened(watched(Stream(apart), 340, LiveSli(quick())))) == 2
    shared = [replace(SHOP, failed=hurt), replace(OTHER, failed=hurt, backend="db")]
    live = LiveSli(quick())
    last = list(watched(Stream(shared), 340, live))[-1][1]
    assert len(last) == 1 and len(last[0].breaches) == 2


def test_harm_that_comes_and_goes_is_one_episode() -> None:
    flapping = replace(SHOP, failed=lambda t: 0.5 if t >= 300 and t % 90 < 40 else 0.002)
    assert len(opened(watched(Stream([flapping]), 700, LiveSli(quick())))) == 1


def test_goes_on_after_a_restart_and_judges_at_once(tmp_path: Path) -> None:
    stream = Stream([replace(SHOP, failed=between(300, 500, 0.4, 0.002)), OTHER])
    live = LiveSli(quick(), folder=tmp_path)
    [(_, before)] = opened(watched(stream, 360, live))
    live.save(START + 360 * SECOND)
    again = LiveSli(quick(), folder=tmp_path)
    history = list(watched(stream, 200, again, since=360))
    keys = {candidate.key for _, candidates in history for candidate in candidates}
    assert keys == {before.key}
    ended = history[-1][1][0].ended_ns
    assert ended is not None and abs((ended - START) / SECOND - 500) < 10


def test_a_damaged_file_of_what_was_learned_is_as_none(tmp_path: Path) -> None:
    (tmp_path / "usual.json").write_text('{"at_ns": ')
    assert not LiveSli(folder=tmp_path).stats().warm


def test_services_that_are_ignored_open_nothing() -> None:
    stream = Stream([replace(SHOP, failed=between(300, 420, 0.4, 0.002)), OTHER])
    assert opened(watched(stream, 340, LiveSli(quick(ignore_services=("shop",))))) == []


def test_an_objective_opens_what_is_usual_and_excuses_what_it_bears() -> None:
    # One in ten always fails: nothing new, but far from the promise.
    always = Stream([replace(SHOP, failed=lambda t: 0.1)])
    strict = LiveSli(quick(objectives=(Objective(service="shop", availability=0.999),)))
    found = opened(watched(always, 700, strict))
    assert len(found) == 1 and found[0][1].breaches[0].statistic == "share" and not found[0][1].within_objective
    hurt = Stream([replace(SHOP, took_ms=between(300, 420, 200.0, 40.0))])
    easy = LiveSli(quick(objectives=(Objective(service="shop", latency_ms=2000.0),)))
    [(_, candidate)] = opened(watched(hurt, 340, easy))
    assert candidate.within_objective


def test_reads_objectives_and_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "slo.toml"
    path.write_text('[[slo]]\nservice = "shop"\navailability = 0.999\nlatency_ms = 300\n')
    assert read_objectives(path) == (Objective(service="shop", availability=0.999, latency_ms=300),)
    for text, said in (
        ('[[slo]]\nservice = "shop"\n', "nothing is promised"),
        ('[[slo]]\nservice = "shop"\navailability = 99.9\n', "slo.toml"),
        ("[[slo]\n", "no TOML"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=said):
            read_objectives(path)


def test_a_queue_that_nobody_empties_is_bounded() -> None:
    one = spans(time=[START] * 4, trace_id=["a"] * 4, span_id=list("abcd"), service=["s"] * 4, name=["n"] * 4)
    live = LiveSli(quick(queue_mib=0.002))
    for _ in range(50):
        live.add(one)
    stats = live.stats()
    assert 0 < stats.queued < 100 and stats.queued + stats.dropped == 200


def test_what_ignored_services_send_is_no_sign_that_others_would_be_heard() -> None:
    stream = Stream([replace(SHOP, rate=between(300, 420, 0.0, 20.0)), OTHER])
    assert opened(watched(stream, 420, LiveSli(quick(ignore_services=("blog", "files"))))) == []
    stream, live = (
        Stream([replace(SHOP, rate=between(300, 420, 0.0, 20.0))]),
        LiveSli(quick(ignore_services=("aetia",))),
    )
    own = pa.table({"service": ["aetia"]})
    for _, candidates in watched(stream, 420, live):
        live.alive(own)
        assert candidates == ()


def test_learns_from_stored_spans_and_judges_at_once() -> None:
    stream = Stream([replace(SHOP, failed=between(300, 400, 0.4, 0.002)), OTHER])
    stored = [stream.tick(float(t)) for t in range(5, 301, 5)]
    live = LiveSli(quick())
    live.learn(iter(stored), START + 300 * SECOND)
    assert live.stats().requests == sum(table.num_rows for table in stored) // 2
    [(at, first)] = opened(watched(stream, 40, live, since=300))
    assert 300 < at <= 330 and [b.sli for b in first.breaches] == ["success"]
