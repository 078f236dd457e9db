"""`aetia serve`, its tokens and `aetia store`, as processes: start, refusals, shutdown, and who owns the folder."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import PROTOBUF, spans

from aetia.cli.main import main
from aetia.serve import run
from aetia.serve.config import make_config
from aetia.serve.logging import JsonLines, TextLines

COMMAND = [sys.executable, "-m", "aetia"]


def aetia(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


class Process:
    """A server in a process of its own, and what it said at the start."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child = child
        self.said: list[str] = []
        assert child.stderr is not None
        for line in child.stderr:
            self.said.append(line)
            if found := re.search(r"(http://[\w.\[\]:]+:(\d+))", line):
                self.url, self.port = found[1], int(found[2])
                break
        else:
            raise AssertionError("".join(self.said))
        self.said.append(child.stderr.readline())

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(line):
            line.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
            answer = line.getresponse()
            return answer.status, answer.read()

    def send(self, body: bytes) -> int:
        return self.request("POST", "/v1/traces", body, content_type=PROTOBUF)[0]

    def ready(self) -> None:
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.request("GET", "/readyz")[0] == 200:
                    return
            assert time.monotonic() < end
            time.sleep(0.05)


@contextlib.contextmanager
def running(folder: Path, *words: object) -> Iterator[Process]:
    child = subprocess.Popen(
        [*COMMAND, "serve", "--data", str(folder), "--port", "0", *map(str, words)], stderr=subprocess.PIPE, text=True
    )
    try:
        one = Process(child)
        one.ready()
        yield one
    finally:
        child.kill()
        child.communicate(timeout=20)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Process]]:
    """A server that holds forty spans."""
    folder = tmp_path_factory.mktemp("story") / "data"
    config = folder.parent / "aetia.toml"
    config.write_text("[server]\nwatch_itself = false\n")  # its own spans would count, too
    with running(folder, "--config", config) as one:
        assert [one.send(spans(10)) for _ in range(4)] == [200] * 4
        yield folder, one


def test_a_server_says_where_it_is_and_who_may_ask(story: tuple[Path, Process]) -> None:
    folder, one = story
    assert str(folder) in one.said[0] and "no login" in one.said[1]


def test_a_second_server_names_the_first(story: tuple[Path, Process], tmp_path: Path) -> None:
    folder, one = story
    second = aetia("serve", "--data", folder, "--port", 0)
    assert second.returncode == 2 and one.url in second.stderr and str(one.child.pid) in second.stderr
    third = aetia("serve", "--data", tmp_path / "other", "--port", one.port)
    assert third.returncode == 2 and "--port" in third.stderr and "Traceback" not in third.stderr


def test_the_store_is_asked_through_its_owner_and_later_opened(story: tuple[Path, Process], tmp_path: Path) -> None:
    """The last test of the server: a stream that never ends by itself is open as it is told to end."""
    folder, one = story
    first = json.loads(aetia("store", "stats", "--data", folder, "--json").stdout)
    assert first["spans"] == 40 and first["stats"]["signals"]["spans"]["rows"] == 40
    assert aetia("store", "compact", "--data", folder).returncode == 0
    assert aetia("store", "check", folder).returncode == 0
    assert aetia("store", "export", tmp_path / "one", "--data", folder, "--window", "..").returncode == 0
    with socket.create_connection(("127.0.0.1", one.port), timeout=20) as stream:
        stream.sendall(b"GET /api/v1/stream HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert stream.recv(50).startswith(b"HTTP/1.1 200")
        one.child.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert one.child.wait(20) == 0
        assert time.monotonic() - began < 10
    second = json.loads(aetia("store", "stats", "--data", folder, "--json").stdout)
    assert second["spans"] == 40 and second["stats"]["signals"]["spans"]["hot_rows"] == 0
    assert aetia("store", "export", tmp_path / "two", "--data", folder, "--window", "..").returncode == 0
    names = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("one", "two")]
    assert names[0] == names[1] and "spans.parquet" in names[0]
    assert "spans" in aetia("store", "stats", "--data", folder).stdout
    again = aetia("store", "export", tmp_path / "two", "--data", folder)
    assert again.returncode == 2 and "never overwritten" in again.stderr
    assert aetia("store", "stats", tmp_path / "none").returncode == 2


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with running(tmp_path / "data") as one, socket.create_connection(("127.0.0.1", one.port)) as slow:
        slow.sendall(
            f"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: {PROTOBUF}\r\ncontent-length: 9\r\n\r\n"
            "x".encode()
        )
        time.sleep(0.2)
        one.child.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert one.child.poll() is None  # it waits for the rest of the body
        one.child.send_signal(signal.SIGINT)
        assert one.child.wait(5) == 130


def children(pid: int) -> list[int]:
    found: list[int] = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(place.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(place.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are listed by Linux's /proc")
def test_the_workers_end_when_their_server_is_killed(tmp_path: Path) -> None:
    config = tmp_path / "aetia.toml"
    config.write_text("[store]\nsegment_seconds = 0.1\n")
    with running(tmp_path / "data", "--config", config) as one:
        assert one.send(spans(10)) == 200
        end = time.monotonic() + 20
        while len(workers := children(one.child.pid)) < 2:
            assert time.monotonic() < end
            time.sleep(0.02)
        one.child.kill()
        one.child.wait()
        while any(Path(f"/proc/{pid}").exists() for pid in workers):
            assert time.monotonic() < end
            time.sleep(0.02)
    assert aetia("store", "check", "--deep", "--data", tmp_path / "data").returncode == 0


def test_tokens_are_made_listed_and_revoked_by_hand(tmp_path: Path) -> None:
    made = aetia("serve", "token", "create", "--scope", "read,ingest", "--name", "ci", "--data", tmp_path)
    secret = made.stdout.strip()
    assert made.returncode == 0 and secret.startswith("aetia_") and secret not in made.stderr
    config = tmp_path / "aetia.toml"
    config.write_text('[server]\nauth = "tokens"\n')
    with running(tmp_path, "--config", config) as one:
        assert "token" in one.said[1]
        assert one.request("GET", "/api/v1/store")[0] == 401
        assert one.request("GET", "/api/v1/store", authorization=f"Bearer {secret}")[0] == 200
        denied = aetia("store", "stats", "--data", tmp_path)
        assert denied.returncode == 2 and "AETIA_TOKEN" in denied.stderr
        assert aetia("store", "stats", "--data", tmp_path, AETIA_TOKEN=secret).returncode == 0
        listed = json.loads(aetia("serve", "token", "list", "--data", tmp_path, "--format", "json").stdout)
        assert [(row["name"], row["scopes"]) for row in listed] == [("ci", ["ingest", "read"])]
        assert aetia("serve", "token", "revoke", "ci", "--data", tmp_path).returncode == 0
        assert one.request("GET", "/api/v1/store", authorization=f"Bearer {secret}")[0] == 401
    assert aetia("serve", "token", "create", "--scope", "everything", "--data", tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0", "--port", "0"], "token create"),
        (["--host", "203.0.113.7", "--port", "0"], "--host"),
        (["--host", "no.such.host.invalid", "--port", "0"], "cannot be found"),
        (["--port", "70000"], "0 to 65535"),
        (["--config", "/nowhere/aetia.toml"], "--config"),
        (["--store", "postgres://x", "--port", "0"], "clickhouse://"),
    ],
)
def test_what_cannot_be_started_is_said_in_one_sentence(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--data", str(tmp_path / "data"), *words]) == 2
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told and len(told.strip().splitlines()) == 1


def test_a_store_elsewhere_that_does_not_answer_is_said_at_the_start(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"clickhouse://127.0.0.1:{nobody.getsockname()[1]}/otel"
        with run.running(make_config({"server": {"port": 0}}), tmp_path, store_url=url) as (_, state, _):
            assert "takes no connection" in list(run.greeting(state, url))[-1]


def test_lines_on_stderr_can_be_json() -> None:
    record = logging.LogRecord("aetia.x", logging.WARNING, "f", 1, "two\nlines of %s", ("that",), None)
    record.incident = "i-1"
    found = json.loads(JsonLines().format(record))
    assert (found["level"], found["message"], found["incident"]) == ("warning", "two\nlines of that", "i-1")
    assert "\n" not in TextLines().format(record)
