"""The configuration file: every key is known, checked and documented."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from aetia.model.errors import ServeError
from aetia.serve.config import LISTS, SECTIONS, Config, make_config, read_config
from aetia.serve.config_keys import keys
from aetia.serve.pages import api_page, configuration_file, configuration_page

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[servr]\n", r"no section \[servr\]; did you mean 'server'"),
        ("[server]\nprot = 1\n", r"no key 'prot' in \[server\]; did you mean 'port'"),
        ("[server]\nport = '1'\n", r"server.port: expected `int`"),
        ("[server]\nport = 99999\n", r"server.port"),
        ("[server]\ntls_key = 'x'\n", "tls_certificate and tls_key"),
        ("[limits]\nbody_mib = 0\n", "limits.body_mib"),
        ("[store]\nmax_byte = 1\n", "did you mean 'max_bytes'"),
        ("[redaction]\nkeys = ['(']\n", "no regular expression"),
        ("[[slo]]\nservice = 'a'\navailability = 2\n", "slo"),
        ("[slo]\nservice = 'a'\n", "slo: expected `array`"),
        ("[[sources]]\nkind = 'prometheus'\nurl = 'ftp://x'\n", "sources"),
        ("[[notify]]\nkind = 'pigeon'\n", "notify"),
        ("[server\n", "no TOML"),
        ("x = 1\n", "no section"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_the_mend(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "aetia.toml"
    path.write_text(text)
    with pytest.raises(ServeError, match=said) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_nothing_has_to_be_configured(tmp_path: Path) -> None:
    path = tmp_path / "aetia.toml"
    path.write_text("")
    assert read_config(path) == read_config(None) == Config()
    with pytest.raises(ServeError, match="--config"):
        read_config(tmp_path / "none.toml")


def test_the_file_that_comes_with_it_says_the_defaults() -> None:
    """Every line that sets something is a comment with the default, so with and without the signs it changes nothing."""
    text = (ROOT / "deploy" / "aetia.toml").read_text("utf-8")
    assert make_config(tomllib.loads(text)) == Config()
    sections = text.partition("# [[")[0]
    set_up = re.sub(r"^# (?=[a-z_]+ = .)", "", sections, flags=re.M)
    assert set_up.count("\n#") < 6 and make_config(tomllib.loads(set_up)) == Config()


def test_the_generated_pages_are_current() -> None:
    for place, content in (
        ("docs/configuration.md", configuration_page()), ("docs/api.md", api_page()),
        ("deploy/aetia.toml", configuration_file()),
    ):  # fmt: skip
        assert (ROOT / place).read_text("utf-8") == content, "run `make docs`"


def test_every_key_has_a_meaning_and_is_on_the_page() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    for name in SECTIONS:
        heading = f"[[{name}]]" if name in LISTS else f"[{name}]"
        assert f"## `{heading}`" in page
        for key in keys(name):
            assert key.meaning, f"{name}.{key.name} has no meaning"
            assert f"| `{key.name}` |" in page


def test_no_limit_is_written_as_0() -> None:
    config = make_config({"store": {"max_age_seconds": 0, "max_bytes": 0}})
    assert config.store.max_age_seconds is None and config.store.max_bytes is None


def test_promises_reach_the_detection() -> None:
    config = make_config({"slo": [{"service": "checkout", "availability": 0.99}]})
    assert config.detection.objectives == config.slo and config.slo[0].latency_share == 0.95
