"""Who may ask what: names, origins, tokens, sessions, scopes, and the headers of every answer."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served, served, spans

from aetia.model.errors import ServeError, UsageError
from aetia.serve.config import make_config
from aetia.serve.problems import Refused
from aetia.serve.run import running
from aetia.serve.security.origins import check_origin, host_name, is_loopback
from aetia.serve.security.sessions import FailedLogins, Sessions
from aetia.serve.security.tokens import Tokens
from aetia.serve.state import needs_no_login


class Guarded:
    """A server that asks for tokens, and one of each scope."""

    def __init__(self, one: Served, tokens: dict[str, str]) -> None:
        self.one, self.tokens = one, tokens

    def bearer(self, scope: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens[scope]}"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded") / "data"
    held = Tokens(folder)
    tokens = {scope: held.create([scope], scope)[0] for scope in ("read", "write", "ingest")}  # type: ignore[list-item]
    tokens["all"] = held.create(["read", "write", "ingest"], "everything")[0]
    config = {"server": {"auth": "tokens"}, "limits": {"logins_per_minute": 3}}
    with served(folder, config) as one:
        yield Guarded(one, tokens)


CHANGE = {"kind": "deploy", "service": "checkout", "description": "1.0"}


def test_every_answer_has_the_headers_that_keep_pages_apart(server: Served) -> None:
    for answer in (server.get("/healthz"), server.get("/api/v1/nothing"), server.get("/"), server.get("/v1/traces")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("name", "good"),
    [("localhost", True), ("127.0.0.1:4318", True), ("[::1]:80", True), ("app.localhost", True), ("evil.example", False),
     ("127.0.0.1.evil.example", False), ("localhost.evil.example:4318", False), ("10.0.0.1", False), ("", False),
     ("localhost:notaport", False), ("user@localhost", False)],
)  # fmt: skip
def test_a_server_without_login_answers_to_names_of_this_machine_alone(server: Served, name: str, good: bool) -> None:
    assert (server.ask("GET", "/api/v1/store", headers={"host": name}).status == 200) is good


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
     {"origin": "http://localhost:1"}, {"sec-fetch-site": "same-site"}],
)  # fmt: skip
def test_a_page_of_another_site_changes_nothing(server: Served, headers: dict[str, str]) -> None:
    assert server.ask("POST", "/api/v1/changes", CHANGE, headers).status == 403
    assert (
        server.ask("POST", "/v1/traces", spans(1), {**headers, "content-type": "application/x-protobuf"}).status == 403
    )


def test_a_form_cannot_change_anything_either(server: Served) -> None:
    body = b'{"kind": "deploy"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert server.ask("POST", "/api/v1/changes", body, {"content-type": kind}).status == 415


def test_pages_of_the_server_itself_may(server: Served) -> None:
    headers = {"origin": server.url, "sec-fetch-site": "same-origin", "host": server.url.removeprefix("http://")}
    assert server.ask("POST", "/api/v1/changes", CHANGE, headers).status == 200


@pytest.mark.parametrize(
    ("scope", "read", "write", "ingest"),
    [("read", 200, 403, 403), ("write", 403, 200, 403), ("ingest", 403, 403, 200), ("all", 200, 200, 200)],
)
def test_each_scope_opens_its_own_door(guarded: Guarded, scope: str, read: int, write: int, ingest: int) -> None:
    one, headers = guarded.one, guarded.bearer(scope)
    assert one.ask("GET", "/api/v1/services", headers=headers).status == read
    assert one.ask("POST", "/api/v1/changes", CHANGE, headers).status == write
    sent = one.ask("POST", "/v1/traces", spans(1), {**headers, "content-type": "application/x-protobuf"})
    assert sent.status == ingest
    assert one.ask("GET", "/api/v1/stream", headers=headers).status == 403 if read != 200 else True


def test_without_a_token_there_is_nothing_but_health_and_the_login(guarded: Guarded) -> None:
    one = guarded.one
    for path in ("/api/v1/services", "/api/v1/stream", "/api/v1/incidents", "/api/v1/self"):
        answer = one.get(path)
        assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert answer.json["error"]["kind"] == "unauthorised"
    assert one.send("/v1/traces", spans(1)).status == 401
    assert one.get("/api/v1/services", authorization="Bearer aetia_0_0").status == 401
    assert one.get("/healthz").status == 200 and one.get("/").status == 200
    assert one.get("/api/v1/session").json["login"] is True


def test_a_login_gives_a_cookie_that_pages_cannot_read_and_other_sites_cannot_send(guarded: Guarded) -> None:
    one = guarded.one
    answer = one.post("/api/v1/login", {"token": guarded.tokens["read"]})
    cookie = answer.headers["set-cookie"]
    assert answer.status == 200 and answer.json["scopes"] == ["read"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and guarded.tokens["read"] not in cookie
    pair = cookie.partition(";")[0]
    assert one.get("/api/v1/services", cookie=pair).status == 200
    assert one.ask("POST", "/api/v1/changes", CHANGE, {"cookie": pair}).status == 403
    away = one.ask("POST", "/api/v1/logout", {}, {"cookie": pair})
    assert away.status == 204 and "Max-Age=0" in away.headers["set-cookie"]
    assert one.get("/api/v1/services", cookie=pair).status == 401


def test_a_session_does_not_protect_from_other_sites_unless_the_origin_is_checked(guarded: Guarded) -> None:
    one = guarded.one
    pair = one.post("/api/v1/login", {"token": guarded.tokens["all"]}).headers["set-cookie"].partition(";")[0]
    headers = {"cookie": pair, "origin": "https://evil.example"}
    assert one.ask("POST", "/api/v1/changes", CHANGE, headers).status == 403
    assert one.ask("POST", "/api/v1/changes", CHANGE, {"cookie": pair}).status == 200
    token = {"origin": "https://elsewhere.example", **guarded.bearer("write")}
    assert one.ask("POST", "/api/v1/changes", CHANGE, token).status == 200  # a token cannot be sent by a stranger


def test_failed_logins_are_slowed_down(guarded: Guarded) -> None:
    one = guarded.one
    found = [one.post("/api/v1/login", {"token": f"aetia_{n}_x"}) for n in range(5)]
    assert [answer.status for answer in found] == [401, 401, 401, 429, 429]
    assert int(found[-1].headers["retry-after"]) >= 1


def test_a_revoked_token_is_worthless_at_once_and_so_are_its_sessions(tmp_path: Path) -> None:
    secret, made = Tokens(tmp_path).create(["read"], "visitor")
    with served(tmp_path, {"server": {"auth": "tokens"}}) as one:
        pair = one.post("/api/v1/login", {"token": secret}).headers["set-cookie"].partition(";")[0]
        assert one.get("/api/v1/services", cookie=pair).status == 200
        Tokens(tmp_path).revoke(made.id)  # as another process does it
        assert one.get("/api/v1/services", cookie=pair).status == 401
        assert one.get("/api/v1/services", authorization=f"Bearer {secret}").status == 401


def test_tokens_are_kept_as_salted_hashes_for_the_owner_alone(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    first, made = tokens.create(["read", "write"], "laptop")
    second, _ = tokens.create(["ingest"], "collector")
    content = (tmp_path / "tokens.json").read_text()
    assert first.rpartition("_")[2] not in content and second.rpartition("_")[2] not in content
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600
    again = Tokens(tmp_path)
    found = again.identify(first)
    assert found is not None and found.name == "laptop" and found.scopes == {"read", "write"}
    for wrong in ("", "x", first[:-1], first + "0", first.replace(made.id, "ffffffff"), first.replace("aetia_", "")):
        assert again.identify(wrong) is None
    tokens.revoke("laptop")
    assert again.identify(first) is None and again.identify(second) is not None
    with pytest.raises(UsageError, match="no token"):
        tokens.revoke("laptop")
    with pytest.raises(UsageError, match="scope"):
        tokens.create([])


def test_sessions_end_with_time_and_with_their_token(tmp_path: Path) -> None:
    now = [0.0]
    tokens = Tokens(tmp_path)
    secret, made = tokens.create(["read"])
    identity = tokens.identify(secret)
    assert identity is not None
    sessions = Sessions(tokens, 1.0, clock=lambda: now[0])
    cookie = sessions.open(identity, secure=True).partition(";")[0]
    assert "; Secure" in sessions.open(identity, secure=True)
    assert sessions.identify(f"other=1; {cookie}") is not None
    now[0] = 3601
    assert sessions.identify(cookie) is None
    fresh = sessions.open(identity, secure=False).partition(";")[0]
    assert sessions.identify(fresh) is not None
    tokens.revoke(made.id)
    assert sessions.identify(fresh) is None


def test_the_failures_of_an_hour_ago_do_not_count() -> None:
    now = [0.0]
    failed = FailedLogins(2, clock=lambda: now[0])
    failed.failed("a")
    failed.failed("a")
    with pytest.raises(Refused):
        failed.check("a")
    failed.check("b")
    now[0] = 61
    failed.check("a")


def test_any_other_address_needs_tokens(tmp_path: Path) -> None:
    assert needs_no_login(make_config({}))
    assert needs_no_login(make_config({"server": {"host": "::1"}}))
    for section in ({"host": "0.0.0.0"}, {"host": "::"}, {"auth": "tokens"}, {"hosts": ["aetia.example.com"]}):
        assert not needs_no_login(make_config({"server": section}))
    open_to_all = make_config({"server": {"host": "0.0.0.0", "port": 0}})
    with pytest.raises(ServeError, match="token create"), running(open_to_all, tmp_path):
        raise AssertionError("it started")


def test_files_outside_of_the_pages_cannot_be_read(server: Served) -> None:
    for path in ("/ui/../app.py", "/ui/..%2fapp.py", "/ui/%2e%2e/%2e%2e/cli/main.py", "/ui//etc/passwd", "/ui/.%00/x",
                 "/ui/....//app.py", "/../../../etc/passwd", "/ui/" + "a" * 5000):  # fmt: skip
        answer = server.get(path)
        assert answer.status in (400, 404), path
        assert b"import" not in answer.body and b"root:" not in answer.body


def test_heads_are_bounded(server: Served) -> None:
    assert server.get("/api/v1/services?start=" + "x" * 9000).status == 400
    many = {f"x-{n}": "y" for n in range(150)}
    assert server.ask("GET", "/api/v1/services", headers=many).status == 400


def test_names_and_origins() -> None:
    assert [is_loopback(name) for name in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "LOCALHOST.", "0.0.0.0", "a.b")] == [
        True, True, True, True, True, False, False,
    ]  # fmt: skip
    assert host_name("Example.COM:80") == "example.com" and host_name("a/b") == "" and host_name("[::1") == ""
    check_origin("GET", "localhost", "https://evil.example", "cross-site")
    check_origin("POST", "localhost:4318", "http://localhost:4318", "same-origin")
    with pytest.raises(Refused):
        check_origin("DELETE", "localhost:4318", "http://[broken", None)
