"""The client over real HTTP: tries, time, errors by category, tokens; recording and pseudonyms."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import server
from server import Scripted, Turn

from aetia.model.errors import ReportError, UsageError
from aetia.model.journal import ModelAnswer, ModelCall
from aetia.reason.models.configured import configured, required
from aetia.reason.models.openai import KEY, OpenAIModel
from aetia.reason.models.pseudonymous import Pseudonymous
from aetia.reason.models.recorded import Recorded, Recording
from aetia.reason.redact import Pseudonyms

HELLO = ModelCall(messages=({"role": "system", "content": "be short"}, {"role": "user", "content": '{"a": "hello"}'}))


def ask(role: server.Role, call: ModelCall = HELLO, *, timeout_s: float = 5.0) -> tuple[ModelAnswer, Scripted]:
    with Scripted(role) as scripted:
        return OpenAIModel(scripted.url, "m").answer(call, timeout_s), scripted


def then(first: Turn, later: Turn) -> server.Role:
    return lambda request, number: first if number == 1 else later


def test_text_calls_and_tokens_come_back() -> None:
    answer, scripted = ask(lambda request, number: Turn("hi", calls=[("topology", '{"service": "a"}')]))
    assert (answer.text, answer.error) == ("hi", None)
    assert answer.calls == (("call_0", "topology", '{"service": "a"}'),)
    assert answer.tokens_in > 0 and answer.tokens_out == 20
    assert scripted.requests[0]["model"] == "m" and scripted.headers[0][":path"] == "/v1/chat/completions"


def test_tokens_are_estimated_where_the_server_counts_none() -> None:
    answer, _ = ask(lambda request, number: Turn("hello there", usage=False))
    assert answer.tokens_in > 5 and answer.tokens_out > 5


def test_the_key_comes_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    _, scripted = ask(lambda request, number: Turn("hi"))
    assert "Authorization" not in scripted.headers[0]
    monkeypatch.setenv(KEY, "local-key")
    _, scripted = ask(lambda request, number: Turn("hi"))
    assert scripted.headers[0]["Authorization"] == "Bearer local-key"


@pytest.mark.parametrize(
    "trouble",
    [
        Turn(status=429, headers={"Retry-After": "0"}), Turn(status=503, headers={"Retry-After": "0"}),
        Turn(status=500), Turn(drop="before"), Turn(drop="middle"), Turn(body=b"<html>"), Turn(body=b'{"choices": []}'),
    ],
)  # fmt: skip
def test_what_passes_is_tried_again(trouble: Turn) -> None:
    answer, scripted = ask(then(trouble, Turn("hi")))
    assert answer.text == "hi" and len(scripted.requests) == 2


def test_retry_after_is_waited_for() -> None:
    began = time.monotonic()
    answer, _ = ask(then(Turn(status=429, headers={"Retry-After": "1"}), Turn("hi")))
    assert answer.text == "hi" and time.monotonic() - began >= 1.0


@pytest.mark.parametrize(
    ("turn", "category"),
    [
        (Turn(status=401), "auth"), (Turn(status=400), "validation"), (Turn(status=404), "permanent"),
        (Turn(status=302, headers={"Location": "http://example.invalid/"}), "permanent"),
        (Turn(status=429, headers={"Retry-After": "3600"}), "quota"),
    ],
)  # fmt: skip
def test_what_does_not_pass_is_an_error_at_once(turn: Turn, category: str) -> None:
    answer, scripted = ask(lambda request, number: turn)
    assert answer.error is not None and answer.error.category == category and answer.error.instruction
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("turn", [Turn("late", wait_s=30), Turn("x" * 5000, drop="drip")])
def test_no_server_takes_longer_than_it_may(turn: Turn) -> None:
    began = time.monotonic()
    answer, _ = ask(lambda request, number: turn, timeout_s=0.6)
    assert time.monotonic() - began < 1.2
    assert answer.error is not None and answer.error.category == "timeout"


def test_nobody_listens() -> None:
    answer = OpenAIModel("http://127.0.0.1:9/v1", "m").answer(HELLO, 0.3)
    assert answer.error is not None and answer.error.category == "dependency"


def test_a_field_that_the_server_does_not_know_is_left_out() -> None:
    def old(request: server.Request, number: int) -> Turn:
        if "response_format" in request:
            return Turn(status=400, body=b'{"error": "response_format is not supported"}')
        return Turn("hi")

    call = ModelCall(messages=HELLO.messages, response_format={"type": "json_object"})
    with Scripted(old) as scripted:
        model = OpenAIModel(scripted.url, "m")
        assert [model.answer(call, 5.0).text for _ in range(2)] == ["hi", "hi"]
        assert len(scripted.requests) == 3 and model.account.turns == 2 and model.account.tries == 3


def test_a_key_in_an_error_is_not_repeated() -> None:
    body = b'{"error": "Incorrect API key provided: sk-abcdefghijklmnop1234"}'
    answer, _ = ask(lambda request, number: Turn(status=401, body=body))
    assert answer.error is not None and "abcdefgh" not in answer.error.message


@pytest.mark.parametrize(
    "url", ["", "localhost:11434", "ftp://x/v1", "http://", "http://me:secret@x/v1", "http://x:y/"]
)
def test_a_url_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        OpenAIModel(url, "m")


def test_without_flags_and_environment_there_is_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AETIA_MODEL_URL", "AETIA_MODEL"):
        monkeypatch.delenv(name, raising=False)
    assert configured(None, None) is None
    with pytest.raises(UsageError, match="--model-url"):
        required(None, None)
    with pytest.raises(UsageError, match="a URL and a name"):
        configured("http://localhost:1/v1", None)
    monkeypatch.setenv("AETIA_MODEL_URL", "http://localhost:1/v1")
    monkeypatch.setenv("AETIA_MODEL", "m")
    assert configured(None, None) is not None


def test_recorded_turns_are_played_again(tmp_path: Path) -> None:
    place = tmp_path / "turns.jsonl"
    with Scripted(lambda request, number: Turn(f"turn {number}")) as scripted:
        recording = Recording(OpenAIModel(scripted.url, "m"), place)
        said = [recording.answer(HELLO, 5.0).text for _ in range(2)]
    recorded = Recorded(place)
    assert [recorded.answer(HELLO, 5.0).text for _ in range(2)] == said == ["turn 1", "turn 2"]
    other = recorded.answer(ModelCall(messages=({"role": "user", "content": "{}"},)), 5.0)
    assert other.error is not None and other.error.code == "not_recorded"
    with pytest.raises(ReportError, match="never overwritten"):
        Recording(recorded, place)
    place.write_text("nonsense\n")
    with pytest.raises(ReportError, match="line 1"):
        Recorded(place)


def test_names_leave_as_pseudonyms_and_come_back() -> None:
    def echo(request: server.Request, number: int) -> Turn:
        shown = json.loads(request["messages"][1]["content"])
        return Turn(json.dumps({"blame": shown["name"]}), calls=[("topology", json.dumps({"service": shown["name"]}))])

    name = 'pay"ment'
    call = ModelCall(
        messages=({"role": "system", "content": "s"}, {"role": "user", "content": json.dumps({"name": name})})
    )
    with Scripted(echo) as scripted:
        answer = Pseudonymous(OpenAIModel(scripted.url, "m"), Pseudonyms([name, "name"])).answer(call, 5.0)
        assert "pay" not in json.dumps(scripted.requests)
    assert json.loads(answer.text) == {"blame": name}
    assert json.loads(answer.calls[0][2]) == {"service": name}
