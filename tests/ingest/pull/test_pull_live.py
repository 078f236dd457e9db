"""What a diagnosis fetches, and that it names the same root cause as from files."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fake_servers import Jaeger, Reply, Server, serving
from live_incident import Live

from aetia import api
from aetia.cli.main import main
from aetia.ingest.pull import KINDS, client_for, parse_source, pull
from aetia.ingest.pull.live import fetch, plan_of
from aetia.ingest.reader import Loaded
from aetia.model.case import Case
from aetia.model.errors import UsageError
from aetia.model.tables import Telemetry
from aetia.model.window import NS_PER_SECOND, Window
from aetia.net import Client, NetError

S, M = NS_PER_SECOND, 60 * NS_PER_SECOND
NOW = 1_795_000_000 * S


def test_sources_are_kinds_with_addresses() -> None:
    assert parse_source("Prometheus=http://host:9090?step=15s") == ("prometheus", "http://host:9090?step=15s")
    for wrong in ("http://host:9090", "graphite=http://host", "prometheus=", "loki=host:3100", "jaeger=file:///etc"):
        with pytest.raises(UsageError):
            parse_source(wrong)
    with pytest.raises(UsageError) as unknown:
        pull("graphite", "http://host", Window(0, 1), client=Client())
    assert all(kind in str(unknown.value) for kind in KINDS)


def test_headers_come_from_the_environment_and_stay_there() -> None:
    client = client_for(
        "loki", allow_private=True, environment={"AETIA_LOKI_HEADERS": "Authorization=Bearer%20a=b, X-Scope-OrgID=shop"}
    )
    assert dict(client.headers) == {"Authorization": "Bearer a=b", "X-Scope-OrgID": "shop"} and "a=b" not in repr(
        client
    )
    with pytest.raises(UsageError, match="AETIA_LOKI_HEADERS"):
        client_for("loki", allow_private=True, environment={"AETIA_LOKI_HEADERS": "secret"})


@pytest.mark.parametrize(
    ("given", "window", "onset"),
    [
        ({"since": "30m"}, Window(NOW - 60 * M, NOW), NOW - 30 * M),
        ({"since": "4m"}, Window(NOW - 19 * M, NOW), NOW - 4 * M),
        ({"incident": "-50m..-40m"}, Window(NOW - 65 * M, NOW - 40 * M), NOW - 50 * M),
        ({"incident": "-20m..-10m", "baseline": "-40m..-30m"}, Window(NOW - 40 * M, NOW - 10 * M), NOW - 20 * M),
        ({"since": "10m", "baseline": "-2h..-1h"}, Window(NOW - 120 * M, NOW), NOW - 10 * M),
        ({"at": "-10m"}, Window(NOW - 40 * M, NOW), NOW - 10 * M),
        ({}, Window(NOW - 60 * M, NOW), None),
    ],
)
def test_a_baseline_is_fetched_beside_the_incident(given: dict[str, str], window: Window, onset: int | None) -> None:
    plan = plan_of(NOW, **given)
    assert (plan.window, plan.onset_ns) == (window, onset)


@pytest.mark.parametrize(
    "given",
    [{"since": "30m", "at": "-1m"}, {"since": "9d"}, {"incident": "start..now"}, {"incident": "now+1h..now+2h"}, {"since": "soon"}],
)  # fmt: skip
def test_windows_that_cannot_be_fetched_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        plan_of(NOW, **given)


def test_a_source_that_is_down_is_told_while_others_answer(live: Live, some: dict[str, list[dict[str, Any]]]) -> None:
    plan = plan_of(live.minute.end_ns, incident=f"{live.minute.start_ns}..{live.minute.end_ns}")
    with serving(Jaeger(some)) as server:
        found, names = fetch([f"jaeger={server.url}", "loki=http://user:secret@127.0.0.1:9"], plan)
    assert found.spans.num_rows and [record.source for record in found.dropped] == ["loki=http://127.0.0.1:9"]
    assert (
        names == (f"jaeger={server.url}", "loki=http://127.0.0.1:9") and "check that it runs" in found.dropped[0].reason
    )
    with pytest.raises(NetError):
        fetch(["loki=http://127.0.0.1:9"], plan)


def test_metadata_addresses_are_refused_though_whoever_types_may_name_private_ones() -> None:
    with pytest.raises(NetError) as refused:
        fetch(["prometheus=http://169.254.169.254/latest"], plan_of(NOW, since="5m"))
    assert refused.value.category == "refused"


def test_the_root_cause_is_the_one_that_files_give(
    metrics_url: str, live: Live, traces: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    assert live.case.incident is not None and live.case.baseline is not None
    files = Loaded(
        case=Case(id="files"), telemetry=Telemetry(spans=live.telemetry.spans, metrics=live.telemetry.metrics)
    )
    expected = api.diagnose(files, incident=live.case.incident, baseline=live.case.baseline).hypotheses[0]
    assert expected.entity.service == live.culprit
    onset, end = live.case.incident.start_ns, live.case.incident.end_ns
    report, kept = tmp_path / "report.json", tmp_path / "kept"
    with serving(Jaeger(traces)) as server:
        code = main(
            ["diagnose", "--from", f"prometheus={metrics_url}", "--from", f"jaeger={server.url}",
             "--incident", f"{onset}..{end}", "--baseline", f"{live.case.baseline.start_ns}..{onset}",
             "--keep", str(kept), "-o", str(report), "--quiet"]
        )  # fmt: skip
    found = json.loads(report.read_text())
    best = found["hypotheses"][0]
    assert code == 0
    assert (best["entity"]["service"], best["fault_class"]) == (live.culprit, expected.fault_class)
    assert found["source"] == [f"prometheus={metrics_url}", f"jaeger={server.url}"]
    # What was fetched was kept, so the evidence can be run again.
    assert main(["recheck", str(report), str(kept), "--quiet"]) == 0


def test_since_counts_from_now(live: Live, traces: dict[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    assert live.case.incident is not None
    since = (time.time_ns() - live.case.incident.start_ns) // S
    with serving(Jaeger(traces)) as server:
        got = api.gather([f"jaeger={server.url}"], since=f"{since}s")
        found = api.investigate(got.loaded, incident=got.incident, baseline=got.baseline).diagnosis
    assert found.incident is not None and abs(found.incident.window.start_ns - live.case.incident.start_ns) < 5 * S
    assert found.hypotheses[0].entity.service == live.culprit


def test_files_and_systems_are_read_as_one(live: Live, some: dict[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    from aetia.ingest.case import write_case

    folder = write_case(tmp_path / "files", Case(id="files"), Telemetry(metrics=live.telemetry.metrics))
    with serving(Jaeger(some)) as server:
        got = api.gather(
            [f"jaeger={server.url}"], str(folder), incident=f"{live.minute.start_ns}..{live.minute.end_ns}"
        )
    rows = got.loaded.telemetry.rows
    assert rows["metrics"] == live.telemetry.metrics.num_rows and rows["spans"] == sum(map(len, some.values()))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["diagnose"], "no SOURCE was given"),
        (["diagnose", "--from", "nagios=http://x"], "known are prometheus"),
        (["diagnose", "--keep", "x", "somewhere"], "--keep needs --from"),
        (["diagnose", "--from", "loki=http://127.0.0.1:9", "--since", "5m"], "check that it runs"),
    ],
)
def test_what_cannot_be_fetched_is_one_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--quiet"]) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.strip().splitlines()) == 1


def test_a_server_that_refuses_shows_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    def refusing(*args: Any) -> Any:
        raise Reply(401, b"hunter2 is wrong")

    with serving(Server(refusing)) as server:
        url = server.url.replace("http://", "http://me:hunter2@")
        assert main(["diagnose", "--from", f"jaeger={url}", "--since", "5m", "--quiet"]) == 2
    assert "hunter2" not in capsys.readouterr().err
