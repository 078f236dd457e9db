"""32 agents of a language model side by side against one after the other, on a scripted model with 200 ms latency.

Run: .venv/bin/python bench/perf/node_agents.py [AGENTS] [LATENCY_MS]. The target is a ratio of 8 or more.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "reason" / "llm"))

import server

from aetia.model.diagnosis import Diagnosis, Hypothesis
from aetia.model.entity import service
from aetia.model.journal import ModelAnswer, ModelCall, ToolAnswer, ToolCall
from aetia.reason.models.openai import OpenAIModel
from aetia.reason.models.wire import estimated
from aetia.reason.policies.llm import Llm
from aetia.reason.policy import Limits
from aetia.reason.run import run


class Serial:
    """One turn at a time, for comparison."""

    def __init__(self, model: OpenAIModel) -> None:
        self._model, self._lock = model, threading.Lock()

    def answer(self, call: ModelCall, timeout_s: float) -> ModelAnswer:
        with self._lock:
            return self._model.answer(call, timeout_s)


class Nothing:
    """Tools that find nothing: the time of the model alone is measured."""

    def answer(self, call: ToolCall) -> ToolAnswer:
        return ToolAnswer()


def main() -> None:
    agents = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    latency_s = (float(sys.argv[2]) if len(sys.argv) > 2 else 200.0) / 1000
    crowd = tuple(Hypothesis(entity=service(f"service-{at:02d}"), score=1.0, probability=0.1) for at in range(agents))
    prior = Diagnosis(localizer="explain", incident=None, hypotheses=crowd, roots=(0,))
    limits = Limits(deadline_s=600, max_calls=10_000, max_tokens=100_000_000)
    took: dict[str, float] = {}
    with server.Scripted(server.engineer, latency_s=latency_s) as scripted:
        for kind in ("together", "serially"):
            model, calls = OpenAIModel(scripted.url, "scripted"), list[int]()

            def tell(event: object, calls: list[int] = calls) -> None:
                request = getattr(event, "request", None)
                if isinstance(request, ModelCall):
                    calls.append(estimated(request))

            began = time.monotonic()
            run(prior, Llm(), Nothing(), name="llm", model=model if kind == "together" else Serial(model),
                limits=limits, tell=tell)  # fmt: skip
            took[kind] = time.monotonic() - began
            print(f"{kind:9} {took[kind]:6.2f} s  {len(calls)} turns, largest context {max(calls)} tokens")
    ratio = took["serially"] / took["together"]
    print(f"{agents} agents at {1000 * latency_s:.0f} ms: {ratio:.1f} times faster side by side (target 8)")
    sys.stdout.write(msgspec.json.encode({"ratio": round(ratio, 1), **took}).decode() + "\n")
    sys.exit(ratio < 8)


if __name__ == "__main__":
    main()
