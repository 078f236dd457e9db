"""Which model is configured: by flags, else by the environment. Without both URL and name there is none."""

from __future__ import annotations

import math
import os

from aetia.model.errors import UsageError
from aetia.model.journal import Price
from aetia.reason.models.openai import KEY, OpenAIModel

URL, NAME = "AETIA_MODEL_URL", "AETIA_MODEL"
PRICE_IN, PRICE_OUT = "AETIA_MODEL_PRICE_IN", "AETIA_MODEL_PRICE_OUT"
HOW = (
    "give --model-url URL and --model NAME (any server with OpenAI's chat completions, such as"
    f" http://localhost:11434/v1), or set {URL} and {NAME}; a key goes into {KEY}"
)


def configured(url: str | None, name: str | None) -> OpenAIModel | None:
    """The model that was asked for; None when neither flags nor the environment name one.

    Raises UsageError when only one of URL and name is known.
    """
    url, name = url or os.environ.get(URL) or None, name or os.environ.get(NAME) or None
    if url is None and name is None:
        return None
    if url is None or name is None:
        raise UsageError(f"a model needs a URL and a name: {HOW}.")
    return OpenAIModel(url, name)


def required(url: str | None, name: str | None) -> OpenAIModel:
    """The model that is configured; raises UsageError with how to configure one when there is none."""
    model = configured(url, name)
    if model is None:
        raise UsageError(f"no language model is configured, and none is called uninvited: {HOW}.")
    return model


def price(per_million_in: float | None, per_million_out: float | None) -> Price | None:
    """What tokens cost, by flags, else by the environment; None where nobody has said, for prices are not guessed.

    Raises UsageError when only one of the two is known, and for what is no price.
    """
    read = _price(per_million_in, "--price-in", PRICE_IN), _price(per_million_out, "--price-out", PRICE_OUT)
    if read == (None, None):
        return None
    if read[0] is None or read[1] is None:
        raise UsageError(f"a model has two prices: give --price-in and --price-out, or set {PRICE_IN} and {PRICE_OUT}.")
    return Price(per_million_in=read[0], per_million_out=read[1])


def _price(given: float | None, flag: str, variable: str) -> float | None:
    said = os.environ.get(variable) or None
    try:
        value = given if given is not None else float(said) if said is not None else None
    except ValueError:
        value = math.nan
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise UsageError(f"{flag if given is not None else variable} is what a million tokens cost: a number from 0.")
    return value
