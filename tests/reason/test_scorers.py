"""Scorers as files: the same weights back, and one sentence for everything that is wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learning import asking, pursue

from aetia.model.errors import PolicyError
from aetia.reason.observations import NAMES
from aetia.reason.policies.learned import Learned
from aetia.reason.scorers import Layer, Network, linear, load, save

RNG = np.random.default_rng(5)


def mlp(width: int = 4) -> Network:
    wide = len(NAMES)
    return Network(
        mean=RNG.normal(size=wide), scale=RNG.uniform(0.5, 2.0, size=wide), temperature=0.25, about={"by": "a test"},
        layers=(Layer(weights=RNG.normal(size=(width, wide)), bias=RNG.normal(size=width)),
                Layer(weights=RNG.normal(size=(1, width)), bias=np.zeros(1))),
    )  # fmt: skip


@pytest.mark.parametrize("network", [linear(RNG.normal(size=len(NAMES)), bias=0.5), mlp()], ids=["linear", "mlp"])
def test_a_scorer_comes_back_from_its_file_and_scores_the_same(network: Network, tmp_path: Path) -> None:
    chooser = asking("hop")
    pursue(Learned(chooser))
    digest = save(tmp_path / "scorer.json", network)
    back = load(tmp_path / "scorer.json")
    assert back.sha256 == digest == save(tmp_path / "again.json", back.scorer)
    assert (back.scorer.temperature, back.scorer.about) == (network.temperature, network.about)
    for observation in chooser.seen:
        scores = network.score(observation)
        assert scores.shape == (len(observation.actions),)
        assert scores.tobytes() == back.scorer.score(observation).tobytes()


def test_a_hidden_layer_is_what_the_words_say(tmp_path: Path) -> None:
    chooser, network = asking("hop"), mlp()
    pursue(Learned(chooser))
    values = (chooser.seen[0].values - network.mean) / network.scale
    first, second = network.layers
    expected = np.tanh(values @ first.weights.T + first.bias) @ second.weights.T + second.bias
    assert np.allclose(network.score(chooser.seen[0]), expected[:, 0])


def damaged(**changes: Any) -> dict[str, Any]:
    wide = len(NAMES)
    whole = {
        "schema": "aetia.scorer/1", "actions": "aetia.actions/1", "features": list(NAMES), "kind": "linear",
        "mean": [0.0] * wide, "scale": [1.0] * wide, "layers": [{"weights": [[0.0] * wide], "bias": [0.0]}],
    }  # fmt: skip
    return {**whole, **changes}


BAD = {
    "another schema": ({"schema": "aetia.scorer/9"}, "this version reads 'aetia.scorer/1'"),
    "another action space": ({"actions": "aetia.actions/0"}, "was made for 'aetia.actions/0'"),
    "a feature that is gone": ({"features": ["about.luck", *NAMES[1:]]}, "knows 'about.luck'"),
    "a feature too few": ({"features": list(NAMES[:-1])}, f"lacks '{NAMES[-1]}'"),
    "another order": ({"features": [*NAMES[1:], NAMES[0]]}, "in another order"),
    "a short mean": ({"mean": [0.0]}, "mean has 1 values"),
    "a scale of nothing": ({"scale": [0.0] * len(NAMES)}, "not above 0"),
    "two layers of a linear one": ({"layers": damaged()["layers"] * 2}, "has 1 layers, not 2"),
    "rows that are too short": ({"layers": [{"weights": [[1.0]], "bias": [0.0]}]}, "needs a row of"),
    "two values at the end": (
        {"layers": [{"weights": [[0.0] * len(NAMES)] * 2, "bias": [0.0, 0.0]}]},
        "gives 2 values",
    ),
    "another kind": ({"kind": "forest"}, "is no scorer"),
    "a field that nobody knows": ({"code": "import os"}, "is no scorer"),
    "a cold below all": ({"temperature": -1.0}, "a temperature is between"),
    "numbers beyond all": ({"mean": [1e308 * 10] + [0.0] * (len(NAMES) - 1)}, "is no scorer"),
}


def test_the_sound_one_is_sound(tmp_path: Path) -> None:
    (tmp_path / "scorer.json").write_text(json.dumps(damaged()))
    assert load(tmp_path / "scorer.json").scorer.layers[0].weights.shape == (1, len(NAMES))


@pytest.mark.parametrize(("changes", "says"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_with_a_file_is_said_in_one_sentence(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "scorer.json"
    path.write_text(json.dumps(damaged(**changes)))
    with pytest.raises(PolicyError) as raised:
        load(path)
    assert says in str(raised.value) and str(raised.value).endswith(".") and "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [b"", b"\x80\x04K\x01.", b"[]", b'{"schema": "aetia.scorer/1"}', b"\xff\xfe"])
def test_what_is_no_scorer_is_refused_and_never_run(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "scorer.json").write_bytes(data)
    with pytest.raises(PolicyError, match="is no scorer"):
        load(tmp_path / "scorer.json")
    with pytest.raises(PolicyError, match="cannot be read"):
        load(tmp_path / "nowhere.json")


def test_weights_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no finite number"):
        save(tmp_path / "scorer.json", linear(np.full(len(NAMES), np.nan)))
    assert not (tmp_path / "scorer.json").exists()
    with pytest.raises(PolicyError, match="cannot be written"):
        save(tmp_path / "no" / "scorer.json", linear(np.zeros(len(NAMES))))
