"""What was learned, as a file: weights that turn an observation into one score per action; higher = take it.

A scorer is JSON, read without running anything in it:

    {"schema": "aetia.scorer/1", "actions": "aetia.actions/1", "features": ["form.hop", ...], "kind": "linear" or "mlp",
     "mean": [...], "scale": [...], "layers": [{"weights": [[...], ...], "bias": [...]}, ...], "temperature": 0.0,
     "about": {...}}

`features` are all columns of `aetia.reason.observations.NAMES`, in order; a column x becomes (x - mean) / scale. Each
layer has a row of weights per output: `linear` has one layer of one output, `mlp` one of any width, then tanh, then one
of one output. `temperature` is used where the caller names none: 0 takes the best action. `about` is for people: who
trained it, on what.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import numpy as np

from aetia.model.errors import PolicyError
from aetia.reason.actions import SCHEMA as ACTIONS
from aetia.reason.observations import F64, NAMES, Observation

SCHEMA = "aetia.scorer/1"
MOST_BYTES = 64 * 1024 * 1024
MOST_TEMPERATURE = 100.0


class Scorer(Protocol):
    """Anything that tells how good each action is. The same observation has to get the same scores."""

    def score(self, observation: Observation) -> F64:
        """Scores of the shape (actions,), finite; higher = take it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """`weights` of the shape (outputs, inputs), `bias` of the shape (outputs,)."""

    weights: F64
    bias: F64


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A linear scorer (one layer), or one with a hidden layer of tanh (two)."""

    mean: F64
    scale: F64
    layers: tuple[Layer, ...]
    temperature: float = 0.0
    about: dict[str, Any] = field(default_factory=dict[str, Any])

    def score(self, observation: Observation) -> F64:
        """Raises PolicyError for an observation with other features than it was made for."""
        values = observation.values
        if values.shape[1] != len(self.mean):
            raise PolicyError(
                f"the scorer is made for {len(self.mean)} features and the observation has {values.shape[1]}; "
                f"train it again for {observation.schema}."
            )
        at = (values - self.mean) / self.scale
        for number, layer in enumerate(self.layers):
            # einsum adds up in one order on every machine; a matrix product of BLAS does not
            at = np.einsum("ij,kj->ik", np.tanh(at) if number else at, layer.weights) + layer.bias
        return at[:, 0]


def linear(
    weights: F64, *, bias: float = 0.0, mean: F64 | None = None, scale: F64 | None = None, **more: Any
) -> Network:
    """A linear scorer; `weights` of the shape (features,)."""
    layer = Layer(weights=np.asarray(weights, np.float64)[None, :], bias=np.array([bias]))
    return Network(
        mean=np.zeros(len(weights)) if mean is None else mean,
        scale=np.ones(len(weights)) if scale is None else scale,
        layers=(layer,), **more,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ files


class _LayerFile(msgspec.Struct, forbid_unknown_fields=True):
    weights: list[list[float]]
    bias: list[float]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    schema: str
    actions: str
    features: list[str]
    kind: Literal["linear", "mlp"]
    mean: list[float]
    scale: list[float]
    layers: list[_LayerFile]
    temperature: float = 0.0
    about: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A scorer from a file with the SHA-256 of the file, in hex."""

    scorer: Network
    path: Path
    sha256: str


def save(path: Path, network: Network) -> str:
    """Write a scorer; returns the SHA-256 of the file. The same weights give the same bytes."""
    file = _File(
        schema=SCHEMA, actions=ACTIONS, features=list(NAMES), kind="linear" if len(network.layers) == 1 else "mlp",
        mean=network.mean.tolist(), scale=network.scale.tolist(), temperature=network.temperature, about=network.about,
        layers=[_LayerFile(weights=layer.weights.tolist(), bias=layer.bias.tolist()) for layer in network.layers],
    )  # fmt: skip
    _network(file, path)
    data = msgspec.json.encode(file) + b"\n"
    try:
        path.write_bytes(data)
    except OSError as error:
        raise PolicyError(f"{path} cannot be written: {error.strerror}; choose another place.") from error
    return hashlib.sha256(data).hexdigest()


def load(path: Path) -> Loaded:
    """Read a scorer.

    Raises PolicyError when the file cannot be read, is no scorer, holds weights that do not fit together or are no
    numbers, or was made for other actions or features than this version has.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"{path} cannot be read: {error.strerror}; name the scorer's file.") from error
    if len(data) > MOST_BYTES:
        raise PolicyError(f"{path} is larger than {MOST_BYTES // 1024**2} MiB, which no scorer is; name another file.")
    try:
        read = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path} is no scorer: {error}; see docs/plugins-guide.md for its form.") from error
    return Loaded(scorer=_network(read, path), path=path, sha256=hashlib.sha256(data).hexdigest())


def _network(read: _File, path: Path) -> Network:
    """The weights of a file that fit together and fit this version."""
    if read.schema != SCHEMA:
        raise PolicyError(f"{path} is a scorer of {read.schema!r}, this version reads {SCHEMA!r}; train it again.")
    if read.actions != ACTIONS or tuple(read.features) != NAMES:
        raise PolicyError(f"{path} was made for {_difference(read)}; train it again for {ACTIONS}.")
    sizes = {"mean": len(read.mean), "scale": len(read.scale)}
    for name, size in sizes.items():
        if size != len(NAMES):
            raise PolicyError(f"{path}: {name} has {size} values for {len(NAMES)} features; write one for each.")
    wanted = 1 if read.kind == "linear" else 2
    if len(read.layers) != wanted:
        raise PolicyError(f"{path}: a scorer of kind {read.kind} has {wanted} layers, not {len(read.layers)}.")
    layers: list[Layer] = []
    inputs = len(NAMES)
    for number, layer in enumerate(read.layers, start=1):
        outputs = len(layer.bias)
        if outputs != len(layer.weights) or any(len(row) != inputs for row in layer.weights) or not outputs:
            raise PolicyError(f"{path}: layer {number} needs a row of {inputs} weights for each value of its bias.")
        layers.append(Layer(weights=np.array(layer.weights, np.float64), bias=np.array(layer.bias, np.float64)))
        inputs = outputs
    if inputs != 1:
        raise PolicyError(f"{path}: the last layer gives {inputs} values, and a scorer gives one.")
    mean, scale = np.array(read.mean, np.float64), np.array(read.scale, np.float64)
    for name, part in (("mean", mean), ("scale", scale), *((f"layer {n}", p) for n, one in enumerate(layers, start=1)
                                                            for p in (one.weights, one.bias))):  # fmt: skip
        if not np.isfinite(part).all():
            raise PolicyError(f"{path}: {name} holds a value that is no finite number; train it again.")
    if not (scale > 0).all():
        raise PolicyError(f"{path}: scale holds a value that is not above 0; use 1 for features that never change.")
    return Network(mean=mean, scale=scale, layers=tuple(layers), temperature=checked_temperature(read.temperature),
                   about=read.about)  # fmt: skip


def checked_temperature(value: float) -> float:
    """A temperature that sampling can use; 0 takes the best action."""
    if not (math.isfinite(value) and 0.0 <= value <= MOST_TEMPERATURE):
        raise PolicyError(f"a temperature is between 0 (take the best) and {MOST_TEMPERATURE:g}, not {value:g}.")
    return value


def _difference(read: _File) -> str:
    """How the features of a file differ from those of this version."""
    if read.actions != ACTIONS:
        return f"{read.actions!r}"
    unknown, lacking = _first(read.features, set(NAMES)), _first(NAMES, set(read.features))
    words = [f"knows {unknown}, which is not there" if unknown else "", f"lacks {lacking}" if lacking else ""]
    said = " and ".join(word for word in words if word)
    return f"other features: it {said}" if said else "the same features in another order"


def _first(names: Sequence[str], known: set[str]) -> str:
    return next((repr(name[:60]) for name in names if name not in known), "")
