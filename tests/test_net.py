"""The HTTP client of connectors and webhooks, against real servers on loopback."""

from __future__ import annotations

import gzip
import http.server
import io
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aetia.model.errors import GivenUp
from aetia.model.patience import PATIENCE, Patience
from aetia.net import Answer, Client, NetError, forbidden

Respond = Callable[[http.server.BaseHTTPRequestHandler], None]


@contextmanager
def serving(respond: Respond, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server on a free port of 127.0.0.1 whose every request is answered by `respond`; yields the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.close_connection = True
            respond(self)

        do_GET = do_POST = do_HEAD = answer

        def log_message(self, *args: object) -> None:
            del args

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *args: object) -> None:
            del args

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def talking(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that talks to its first caller in bytes, however wrong."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        line, _ = listener.accept()
        with line:
            try:
                talk(line)
            except OSError:
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join(5)
        listener.close()


def reply(handler: http.server.BaseHTTPRequestHandler, body: bytes = b"{}", status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def local(**options: object) -> Client:
    return Client(allow_private=True, timeout_s=5.0, **options)  # type: ignore[arg-type]


def failed(client: Client, url: str, method: str = "GET", **options: object) -> NetError:
    with pytest.raises(NetError) as caught:
        client.request(method, url, **options)  # type: ignore[arg-type]
    return caught.value


# ---- addresses ----------------------------------------------------------------------------------------------

METADATA = (
    "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fe80::a9fe:a9fe",
    "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "fe80::1%eth0", "::169.254.169.254",
)  # fmt: skip
NOWHERE = ("0.0.0.0", "0.1.2.3", "::", "255.255.255.255", "240.0.0.1", "224.0.0.1", "ff02::1", "::ffff:0.0.0.0")
PRIVATE = (
    "127.0.0.1", "127.9.9.9", "::1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
    "198.18.0.1", "192.0.2.1", "fc00::1", "fd12::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1", "2002:a00:1::1", "::10.0.0.1", "2001:db8::1",
)  # fmt: skip


@pytest.mark.parametrize("address", METADATA + NOWHERE)
def test_metadata_and_addresses_of_nobody_are_never_reached(address: str) -> None:
    assert forbidden(address, allow_private=True) and forbidden(address, allow_private=False)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_reached_only_where_that_is_allowed(address: str) -> None:
    assert forbidden(address, allow_private=False)
    assert not forbidden(address, allow_private=True)


@pytest.mark.parametrize("address", ("8.8.8.8", "2606:4700::1111", "172.32.0.1", "100.128.0.1", "64:ff9b::808:808"))
def test_public_addresses_are_reached(address: str) -> None:
    assert not forbidden(address, allow_private=False)


@pytest.mark.parametrize("host", ("127.0.0.1", "127.1", "2130706433", "0x7f000001", "localhost", "[::ffff:127.0.0.1]"))
def test_every_spelling_of_loopback_is_refused(host: str) -> None:
    assert failed(Client(timeout_s=5.0), f"http://{host}:9/").category == "refused"


def test_one_bad_address_among_good_ones_refuses_the_host() -> None:
    client = Client(resolve=lambda host, port: ["8.8.8.8", "10.0.0.5"])
    assert "10.0.0.5" in str(failed(client, "http://two.example/"))


def test_a_name_is_looked_up_once_and_the_connection_goes_to_what_was_checked() -> None:
    seen: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        seen.append(host)
        return ["127.0.0.1"] if len(seen) == 1 else ["169.254.169.254"]

    with serving(lambda handler: reply(handler, handler.headers["Host"].encode())) as port:
        client = local(resolve=rebinding)
        assert client.get(f"http://rebind.example:{port}/").body == f"rebind.example:{port}".encode()
        assert seen == ["rebind.example"]
        assert failed(client, f"http://rebind.example:{port}/").category == "refused"


def test_a_slow_look_up_ends_on_time() -> None:
    def slow(host: str, port: int) -> list[str]:
        time.sleep(1.0)
        return ["127.0.0.1"]

    began = time.monotonic()
    error = failed(Client(allow_private=True, timeout_s=0.1, resolve=slow), "http://slow.example/")
    assert error.category == "timeout" and time.monotonic() - began < 0.8


# ---- URLs and headers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ("ftp://localhost/", "file:///etc/passwd", "localhost:9090", "http://", "http:///x", "http://a b/", "gopher://x/",
     "http://localhost:99999/", "http://localhost:0/", "http://a\r\nX: y/", "http://a\\@b/", "http://[::1/",
     "http://[fe80::1%25eth0]/", "http://local\thost/", "//localhost/", "", "http://localhost/\ud800", "http://\ud800@localhost/"),
)  # fmt: skip
def test_what_is_no_web_address_is_refused(url: str) -> None:
    assert failed(local(), url).category == "url"


@pytest.mark.parametrize(
    "headers",
    ({"X": "a\r\nEvil: 1"}, {"X\r\nEvil": "1"}, {"X": "a\0"}, {"X": "a\n"}, {"": "1"}, {"Host": "other"},
     {"Content-Length": "5"}, {"Transfer-Encoding": "chunked"}, {"X": "☃"}),
)  # fmt: skip
def test_no_header_smuggles_another_one_in(headers: dict[str, str]) -> None:
    assert failed(local(), "http://localhost:9/", headers=headers).category == "url"


def test_credentials_move_from_the_url_to_a_header_and_out_of_messages() -> None:
    def respond(handler: http.server.BaseHTTPRequestHandler) -> None:
        given = handler.headers["Authorization"]
        reply(handler, f"{handler.path} {given} s3cr:t".encode(), 403 if handler.path.startswith("/no") else 200)

    with serving(respond) as port:
        answer = local().get(f"http://me:s3cr%3At@localhost:{port}/a b?q=1".replace(" ", "%20"), {"x": "ä&b"})
        assert answer.body == b"/a%20b?q=1&x=%C3%A4%26b Basic bWU6czNjcjp0 s3cr:t"
        error = failed(local(), f"http://me:s3cr%3At@localhost:{port}/no?token=abcd")
        assert (error.category, error.status) == ("status", 403)
        assert not any(word in str(error) + error.said + repr(error) for word in ("s3cr", "bWU6", "abcd", "me:s"))
        token = failed(local(headers={"Authorization": "Bearer tok-123"}), f"http://localhost:{port}/no")
        assert "tok-123" not in str(token) and "403" in str(token)


def test_a_refused_url_does_not_show_its_password() -> None:
    assert "hunter2" not in str(failed(Client(), "http://u:hunter2@127.0.0.1:9/"))
    assert "hunter2" not in str(failed(Client(), "ftp://u:hunter2@127.0.0.1:9/"))
    assert "hunter2" not in repr(Client(headers={"Authorization": "Bearer hunter2"}))


# ---- answers ------------------------------------------------------------------------------------------------


def test_compressed_answers_of_several_members_are_unpacked() -> None:
    body = gzip.compress(b"a" * 1000) + gzip.compress(b"b" * 10)
    with serving(lambda handler: reply(handler, body, Content_Encoding="gzip")) as port:
        assert local().get(f"http://localhost:{port}/").body == b"a" * 1000 + b"b" * 10


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    with serving(lambda handler: reply(handler, bomb, Content_Encoding="gzip")) as port:
        assert failed(local(most_bytes=1 << 20), f"http://localhost:{port}/").category == "too_large"


def test_a_long_answer_is_refused_before_it_is_read() -> None:
    with serving(lambda handler: reply(handler, bytes(5000))) as port:
        client = local(most_bytes=4999)
        assert failed(client, f"http://localhost:{port}/").category == "too_large"
        assert len(client.request("GET", f"http://localhost:{port}/", most_bytes=5000).body) == 5000


def test_an_endless_answer_without_a_length_is_cut_off() -> None:
    def endless(line: socket.socket) -> None:
        line.recv(4096)
        line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            line.sendall(bytes(1 << 16))

    with talking(endless) as port:
        assert failed(local(most_bytes=1 << 20), f"http://127.0.0.1:{port}/").category == "too_large"


@pytest.mark.parametrize("head", (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "))
def test_a_server_that_drips_is_left_on_time(head: bytes) -> None:
    def drip(line: socket.socket) -> None:
        line.recv(4096)
        line.sendall(head)
        for _ in range(40):
            time.sleep(0.05)
            line.sendall(b"x")

    began = time.monotonic()
    with talking(drip) as port:
        error = failed(Client(allow_private=True, timeout_s=0.4), f"http://127.0.0.1:{port}/")
        assert error.category == "timeout" and error.retryable and time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    "said",
    (b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", b"",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
     b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
     b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\nabcd",
     b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"),
)  # fmt: skip
def test_what_is_no_whole_answer_of_http_is_said(said: bytes) -> None:
    def talk(line: socket.socket) -> None:
        line.recv(4096)
        line.sendall(said)

    with talking(talk) as port:
        assert failed(local(), f"http://127.0.0.1:{port}/").category == "protocol"


def test_a_server_that_is_not_there_is_named_with_the_mend() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    error = failed(local(), f"http://localhost:{port}/x?secret=1")
    assert error.category == "unreachable" and f"http://localhost:{port}/x" in str(error)
    assert "check that it runs" in str(error) and "secret" not in str(error)


def test_a_status_carries_what_was_said_and_when_to_come_back() -> None:
    with serving(lambda handler: reply(handler, b"slow\x1b[31m down\n", 429, Retry_After="7")) as port:
        error = failed(local(), f"http://localhost:{port}/")
        assert (error.status, error.retry_after_s, error.retryable) == (429, 7.0, True)
        assert error.said == "slow [31m down"
    with serving(lambda handler: reply(handler, status=503, Retry_After="Fri, 31 Dec 1999 23:59:59 GMT")) as port:
        assert failed(local(), f"http://localhost:{port}/").retry_after_s == 0.0


# ---- redirects ----------------------------------------------------------------------------------------------


def test_redirects_are_not_followed_unless_asked_for() -> None:
    with serving(lambda handler: reply(handler, status=302, Location="/b")) as port:
        assert failed(local(), f"http://localhost:{port}/a").category == "redirect"
        assert failed(local(redirects=3), f"http://localhost:{port}/a").category == "redirect"  # in a circle


def test_a_redirect_to_another_server_carries_no_credentials() -> None:
    seen: list[dict[str, str]] = []

    def other(handler: http.server.BaseHTTPRequestHandler) -> None:
        seen.append(dict(handler.headers))
        reply(handler, b"there")

    with serving(other) as second, serving(
        lambda handler: reply(handler, status=307, Location=f"http://localhost:{second}/")
    ) as first:  # fmt: skip
        client = local(redirects=1, headers={"X-Token": "t"})
        assert client.get(f"http://u:p@localhost:{first}/").body == b"there"
        assert not {"Authorization", "X-Token"} & seen[0].keys()
        assert failed(client, f"http://localhost:{first}/", "POST", body=b"secret").category == "redirect"


def test_a_redirect_on_the_same_server_keeps_them() -> None:
    def respond(handler: http.server.BaseHTTPRequestHandler) -> None:
        if handler.path == "/a":
            reply(handler, status=308, Location="/b")
        else:
            reply(handler, (handler.headers["Authorization"] or "none").encode())

    with serving(respond) as port:
        assert local(redirects=1).get(f"http://u:p@localhost:{port}/a").body.startswith(b"Basic ")


@pytest.mark.parametrize("place", ("http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "http://10.0.0.1/"))
def test_a_redirect_is_checked_like_any_address(place: str) -> None:
    with serving(lambda handler: reply(handler, status=302, Location=place)) as port:
        client = Client(timeout_s=2.0, redirects=2, resolve=lambda host, port: ["127.0.0.1" if host == "go" else host])
        assert failed(client, f"http://go:{port}/").category == "refused"  # already the first is private here
        if "10.0.0.1" not in place:
            assert failed(local(redirects=2), f"http://localhost:{port}/").category in ("refused", "url")


# ---- encryption ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed, so no certificate can be made")
    place = tmp_path_factory.mktemp("tls") / "both.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-keyout", str(place), "-out", str(place) + ".crt", "-days", "2", "-subj", "/CN=secure.example",
               "-addext", "subjectAltName=DNS:secure.example"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    place.write_text(place.read_text() + Path(f"{place}.crt").read_text())
    return place


def secured(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_certificate_is_checked_against_the_name_and_not_the_address(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    context = secured(certificate)
    context.sni_callback = lambda line, name, given: asked.append(name)
    client = local(resolve=lambda host, port: ["127.0.0.1"])
    with serving(lambda handler: reply(handler, handler.headers["Host"].encode()), context) as port:
        stranger = failed(client, f"https://secure.example:{port}/")
        assert stranger.category == "tls" and "SSL_CERT_FILE" in str(stranger)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        answer = client.get(f"https://secure.example:{port}/")
        assert answer == Answer(200, answer.headers, f"secure.example:{port}".encode())
        assert asked[-1] == "secure.example"
        assert failed(client, f"https://other.example:{port}/").category == "tls"


def test_a_server_that_never_shakes_hands_is_left_on_time() -> None:
    began = time.monotonic()
    with talking(lambda line: time.sleep(1.0)) as port:
        error = failed(Client(allow_private=True, timeout_s=0.3), f"https://localhost:{port}/")
        assert error.category == "timeout" and time.monotonic() - began < 1.0
    with talking(lambda line: line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        assert failed(local(), f"https://localhost:{port}/").category in ("tls", "protocol")


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=30) | st.from_regex(r"https?://[^ ]{0,30}", fullmatch=True),
    st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=2),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)
def test_whatever_is_asked_for_ends_in_an_error_that_says_why(
    url: str, params: list[tuple[str, str]], headers: dict[str, str]
) -> None:
    client = Client(resolve=lambda host, port: ["169.254.169.254"])
    error = failed(client, url, params=params, headers=headers)
    assert error.category in ("url", "refused") and str(error).endswith(".") and "\n" not in str(error)


def test_an_exchange_that_nobody_waits_for_ends_with_its_connection() -> None:
    closed = threading.Event()

    def silent(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.connection.settimeout(20)
        if handler.connection.recv(1) == b"":
            closed.set()

    patience = Patience(60.0)

    def asked() -> None:
        PATIENCE.set(patience)
        with serving(silent) as port, pytest.raises(GivenUp):
            local().get(f"http://127.0.0.1:{port}/")

    thread = threading.Thread(target=asked)
    thread.start()
    time.sleep(0.2)
    patience.end()
    thread.join(10)
    assert not thread.is_alive() and closed.wait(5)


def test_an_exchange_takes_no_longer_than_its_asker_waits() -> None:
    began = time.monotonic()
    token = PATIENCE.set(Patience(0.2))
    try:
        with serving(lambda handler: time.sleep(1)) as port:
            assert failed(local(), f"http://127.0.0.1:{port}/").category == "timeout"
            assert time.monotonic() - began < 1
    finally:
        PATIENCE.reset(token)


def test_a_refusal_can_be_an_answer_and_a_success_a_file() -> None:
    def by_path(handler: http.server.BaseHTTPRequestHandler) -> None:
        reply(handler, b"said", 409 if handler.path == "/no" else 200)

    with serving(by_path) as port:
        file = io.BytesIO()
        refused = local().request("GET", f"http://127.0.0.1:{port}/no", into=file, refusals=True)
        assert (refused.status, refused.body, file.getvalue()) == (409, b"said", b"")
        answer = local().request("GET", f"http://127.0.0.1:{port}/yes", into=file)
        assert (answer.status, answer.body, file.getvalue()) == (200, b"", b"said")
