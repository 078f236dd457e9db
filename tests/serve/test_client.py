"""The command line's client of our own server."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from served import Served, logs, served, spans

from aetia.cli._remote import owner, server
from aetia.cli.store import stats
from aetia.model.errors import ServeError, StoreError, UsageError
from aetia.model.window import Window
from aetia.serve.client import Remote
from aetia.serve.operations.services import ServicesAnswer
from aetia.serve.security.tokens import Tokens
from aetia.store.lock import FolderLock


def test_answers_are_values_and_work_is_asked_for(server: Served) -> None:
    remote = Remote(server.url)
    assert remote.get("/healthz") == b'{"ok":true,"why":""}'
    assert isinstance(remote.read(ServicesAnswer, "/api/v1/services", {"limit": "3"}), ServicesAnswer)
    assert remote.work("/api/v1/store/check", {"deep": True})["sound"]
    with pytest.raises(ServeError, match="no server of this version"):
        remote.read(ServicesAnswer, "/healthz")


def test_a_window_is_fetched_as_a_case_and_nothing_else_is_left(server: Served, tmp_path: Path) -> None:
    server.send("/v1/traces", spans(30, service="exported"))
    server.send("/v1/logs", logs("a line"))
    now = server.state.started_ns
    Remote(server.url).export(Window(now - 3600 * 10**9, now + 3600 * 10**9), tmp_path / "case")
    assert [path.name for path in tmp_path.iterdir()] == ["case"]
    services = pq.read_table(tmp_path / "case" / "spans.parquet", columns=["service"])["service"].to_pylist()
    assert services.count("exported") == 30


def test_what_is_refused_is_said_whole_with_the_mend(server: Served, tmp_path: Path) -> None:
    remote = Remote(server.url)
    with pytest.raises(UsageError, match=r"not a point in time.* Try: "):
        remote.get("/api/v1/services", {"start": "x" * 60})
    with pytest.raises(UsageError, match="not found"):
        remote.get("/api/v1/nothing")
    with pytest.raises(UsageError):
        remote.export(Window(5, 6), tmp_path / "case")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_or_not_well_is_named(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServeError, match=r"no server answers at http://127\.0\.0\.1:9; start one"):
        Remote("http://127.0.0.1:9").get("/healthz")
    monkeypatch.setattr(server.state, "closing", True)
    with pytest.raises(ServeError, match="answered 503"):
        Remote(server.url).get("/readyz")


def test_a_token_is_sent_and_asked_for(tmp_path: Path) -> None:
    secret, _ = Tokens(tmp_path).create(["read"], "ci")
    with served(tmp_path, {"server": {"auth": "tokens"}}) as one:
        with pytest.raises(UsageError, match="AETIA_TOKEN"):
            Remote(one.url).get("/api/v1/store")
        assert Remote(one.url, secret).read(dict[str, Any], "/api/v1/store")["spans"] == 0
        with pytest.raises(UsageError, match=r"scope.*AETIA_TOKEN"):
            Remote(one.url, secret).work("/api/v1/store/compact")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """A certificate of another name, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed, so no certificate can be made")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "crt.pem")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=telemetry.example"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def test_the_owner_of_a_folder_is_asked_by_tls_whatever_its_certificate_says(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    with served(data, {"server": {"tls_certificate": pair[0], "tls_key": pair[1]}}) as one:
        assert one.url.startswith("https://")
        assert server(None, data, "").get("/healthz")
        stats(data=data)
        assert "journal:" in capsys.readouterr().out
        with pytest.raises(ServeError, match="cannot be trusted"):  # an address that was typed may be anybody's
            server(one.url, None, "").get("/healthz")


def test_a_folder_whose_owner_is_no_server_is_not_asked(tmp_path: Path) -> None:
    assert owner(tmp_path, "") is None
    lock = FolderLock.acquire(tmp_path)
    try:
        with pytest.raises(StoreError, match="belongs to process"):
            owner(tmp_path, "")
    finally:
        lock.release()
