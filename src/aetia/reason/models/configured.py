"""Which model is configured: by flags, else by the environment. Without both URL and name there is none."""

from __future__ import annotations

import os

from aetia.model.errors import UsageError
from aetia.reason.models.openai import KEY, OpenAIModel

URL, NAME = "AETIA_MODEL_URL", "AETIA_MODEL"
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
