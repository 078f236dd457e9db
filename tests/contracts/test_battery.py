"""The battery catches what it is for: each broken algorithm fails at the check that names its defect."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from third_party import installed

from aetia import contracts, plugins
from aetia.contracts import ContractBroken
from aetia.evidence.channel import Finding, Reading
from aetia.localize.localizer import Localization, ranked
from aetia.model import entity
from aetia.model.diagnosis import Claim, Hypothesis, Incident, Query, make_evidence
from aetia.model.errors import SignalError
from aetia.model.window import Window
from aetia.signals.view import View

GUIDE = Path(__file__).parents[2] / "docs" / "plugins-guide.md"


class Sound:
    """A channel that keeps the contract: the share of spans of each service in the incident."""

    def observe(self, view: View) -> Reading:
        share = self.shares(view)
        order = sorted(np.flatnonzero(share > 0).tolist(), key=lambda code: (-share[code], view.names.services[code]))
        found = tuple(self.finding(view.names.services[code], float(share[code])) for code in order)
        return Reading(findings=found, silent=None if found else "no spans in the incident")

    def shares(self, view: View) -> np.ndarray:
        owner = view.spans.service[view.span_masks[1] & (view.spans.service >= 0)]
        return np.bincount(owner, minlength=len(view.names.services)) / max(len(owner), 1)

    def finding(self, name: str, score: float) -> Finding:
        claim = Claim(what="share", direction="up", magnitude=score, unit="share", text=f"{name} has spans")
        return Finding(entity=entity.service(name), score=score, claim=claim, args={"service": name})

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        code = view.names.service_code(args["service"])
        if code < 0:
            raise SignalError(f"no service {args['service']}")
        return {"baseline": 0.0, "incident": float(self.shares(view)[code])}


class SoundLocalizer:
    """A localizer that keeps the contract, after the same measure."""

    def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization:
        return ranked({f.entity.name: f.score for f in Sound().observe(view).findings})


class TooSure(Sound):
    def finding(self, name: str, score: float) -> Finding:
        return replace(super().finding(name, score), score=score + 1.0)


class Unsorted(Sound):
    def observe(self, view: View) -> Reading:
        reading = super().observe(view)
        return replace(reading, findings=reading.findings[::-1])


class Speechless(Sound):
    def observe(self, view: View) -> Reading:
        return Reading(findings=super().observe(view).findings)


class Inventive(Sound):
    def finding(self, name: str, score: float) -> Finding:
        return replace(super().finding(name, score), entity=entity.service("elsewhere"))


class Forgetful(Sound):
    def __init__(self) -> None:
        self.calls = 0

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        self.calls += 1
        return {**super().measure(view, **args), "calls": self.calls}


class Unmeasurable(Sound):
    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        return {"baseline": 0.0, "incident": 1.0}


class NumpyValues(Sound):
    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        return {"incident": np.float64(super().measure(view, **args)["incident"])}


class ObjectArguments(Sound):
    def finding(self, name: str, score: float) -> Finding:
        return replace(super().finding(name, score), args={"service": name, "pair": (name, name)})


class Scribbler(Sound):
    def shares(self, view: View) -> np.ndarray:
        view.spans.service[:] = np.sort(view.spans.service)
        return super().shares(view)


class FirstRow(Sound):
    def shares(self, view: View) -> np.ndarray:
        table = view.facts.telemetry.spans
        first = view.names.service_code(table["service"][0].as_py() or "") if len(table) else -1
        return (np.arange(len(view.names.services)) == first) * 1.0


class Alphabetical(Sound):
    def shares(self, view: View) -> np.ndarray:
        present = super().shares(view)
        return np.where(present > 0, 1.0 / (1.0 + np.arange(len(present))), 0.0)


class NoSpansNoChannel(Sound):
    def shares(self, view: View) -> np.ndarray:
        shares = super().shares(view)
        view.spans.start_ns[0]
        return shares


class Sluggish(Sound):
    def observe(self, view: View) -> Reading:
        if len(view.spans) > 50_000:
            time.sleep(1.1 * contracts.BUDGET_S)
        return super().observe(view)


class Unpicklable(Sound):
    def __init__(self) -> None:
        self.key = lambda name: name


def broken(battery: Callable[[Any], None], factory: Any) -> str:
    with pytest.raises((ContractBroken, ValueError, IndexError, AttributeError)) as failure:
        battery(factory)
    return str(failure.value)


def test_what_keeps_the_contract_passes() -> None:
    contracts.check_channel(Sound)
    contracts.check_localizer(SoundLocalizer)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (TooSure, "lie in 0..1"), (Unsorted, "strongest first"), (Speechless, "says in `silent`"),
        (Inventive, "does not have"), (Forgetful, "differently the second time"), (Unmeasurable, "no SignalError"),
        (NumpyValues, "no JSON as they stand"), (ObjectArguments, "plain JSON values"), (Scribbler, "read-only"),
        (FirstRow, "rows in another order"), (Alphabetical, "names in opposite order"),
        (NoSpansNoChannel, "out of bounds"), (Unpicklable, "pickle"),
    ],
)  # fmt: skip
def test_a_channel_that_breaks_its_contract_is_caught(factory: type[Sound], words: str) -> None:
    assert words in broken(contracts.check_channel, factory)


def test_a_slow_channel_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from aetia.contracts import batteries

    monkeypatch.setattr(batteries, "BUDGET_S", 0.2)
    monkeypatch.setattr(contracts, "BUDGET_S", 0.2)
    assert "are allowed" in broken(contracts.check_channel, Sluggish)


def answer(change: Callable[[Localization, View], Localization]) -> type[SoundLocalizer]:
    class Changed(SoundLocalizer):
        def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization:
            found = super().localize(view, incident, seed=seed)
            return change(found, view) if found.hypotheses else found

    return Changed


def localizer_fails(change: Callable[[Localization, View], Localization]) -> str:
    checks = [check for check in contracts.checks("localizer") if "pickled" not in check.name]
    return broken(lambda factory: [check.run(factory) for check in checks], answer(change))


def with_all(found: Localization, **changes: Any) -> Localization:
    import msgspec

    changed = tuple(msgspec.structs.replace(h, **changes) for h in found.hypotheses)
    return replace(found, hypotheses=changed)


def forged(found: Localization, view: View) -> Localization:
    first = found.hypotheses[0]
    claim = Claim(what="errors", direction="up", magnitude=1.0, unit="share", text="so it is")
    item = make_evidence(
        about=first.entity, claim=claim, polarity="for", strength=1.0, result={"incident": 0.9},
        query=Query(channel="latency", args={"service": first.entity.service, "operation": "Place"}),
    )  # fmt: skip
    return replace(found, evidence=(item,))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found, view: replace(found, hypotheses=found.hypotheses[::-1]), "most suspicious first"),
        (lambda found, view: replace(found, hypotheses=found.hypotheses * 2), "most suspicious first"),
        (lambda found, view: replace(found, hypotheses=found.hypotheses[:1] * 2), "one hypothesis per service"),
        (lambda found, view: replace(found, hypotheses=(), roots=()), "says in `abstained`"),
        (lambda found, view: replace(found, abstained="no idea"), "says in `abstained`"),
        (lambda found, view: replace(found, roots=(len(found.hypotheses),)), "no places in a ranking"),
        (lambda found, view: replace(found, roots=()), "one to three roots"),
        (lambda found, view: with_all(found, score=float("nan")), "finite"),
        (lambda found, view: with_all(found, probability=0.9), "add up to"),
        (lambda found, view: with_all(found, probability=-0.1), "lie in 0..1"),
        (lambda found, view: with_all(found, evidence=("E0",)), "named and not there"),
        (lambda found, view: with_all(found, fault="gc", fault_class="A"), "is not of class"),
        (lambda found, view: replace(found, rejected=(Hypothesis(entity=entity.service("gateway"), score=0.0, verdict="refuted"),)),
         "without a reason"),
        (forged, "does not hold"),
    ],
)  # fmt: skip
def test_an_answer_that_breaks_its_contract_is_caught(
    change: Callable[[Localization, View], Localization], words: str
) -> None:
    assert words in localizer_fails(change)


class Restless:
    """A localizer that draws without regard to its seed."""

    def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization:
        draw = np.random.default_rng(int.from_bytes(os.urandom(4), "big"))
        return ranked({name: float(draw.random()) + 0.1 for name in view.names.services})


def test_an_answer_that_changes_from_call_to_call_is_caught() -> None:
    assert "differ" in broken(contracts.check_localizer, Restless)


class Deaf:
    """A detector that ignores the windows that it is given."""

    def detect(self, facts: Any, **given: Any) -> list[Incident]:
        return [Incident(baseline=Window(0, 1), window=Window(1, 2), onset_ns=1)]


class Backwards:
    def detect(self, facts: Any, **given: Any) -> list[Incident]:
        late, early = (Incident(baseline=Window(0, 1), window=Window(n, n + 1), onset_ns=n) for n in (9, 3))
        return [late, early]


class OutOfWindow:
    def detect(self, facts: Any, **given: Any) -> list[Incident]:
        return [Incident(baseline=Window(0, 1), window=Window(1, 2), onset_ns=7)]


@pytest.mark.parametrize(
    ("factory", "words"), [(Deaf, "given"), (Backwards, "in order of onset"), (OutOfWindow, "outside of the incident")]
)
def test_a_detector_that_breaks_its_contract_is_caught(factory: Any, words: str) -> None:
    assert words in broken(contracts.check_detector, factory)


class Greedy:
    """A reader that takes everything for its own."""

    def recognise(self, path: Path) -> Any:
        from aetia.ingest.reader import Match

        return Match(confidence=1.0)


def test_a_reader_that_takes_everything_is_caught() -> None:
    assert "holds nothing" in broken(contracts.check_reader, Greedy)


# ---- third parties ----------------------------------------------------------------------------------------


@pytest.fixture
def from_the_guide(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The guide's own example, installed as a package; {path: code}."""
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", GUIDE.read_text("utf-8"), flags=re.S)
    assert [path for path, _ in blocks] == ["acme_rca/retry_storm.py", "tests/test_contract.py"]
    modules = {blocks[0][0]: blocks[0][1]}
    with installed(tmp_path, modules, "acme_rca"):
        yield dict(blocks)


def test_the_example_of_the_guide_is_found_and_keeps_the_contract(from_the_guide: dict[str, str]) -> None:
    found = plugins.find("channel", "retry_storm")
    assert found.module == "acme_rca.retry_storm" and found.needs == ("spans",)
    assert "retry_storm" in plugins.names("channel") and "latency" in plugins.names("channel")
    contracts.check(found)


def test_the_test_of_the_guide_passes(from_the_guide: dict[str, str]) -> None:
    namespace: dict[str, Any] = {}
    exec(compile(from_the_guide["tests/test_contract.py"], "guide", "exec"), namespace)
    for check in contracts.checks("channel")[:4]:
        namespace["test_retry_storm_keeps_the_contract"](check)
    namespace["test_it_is_registered"]()


def test_the_example_of_the_guide_finds_what_it_is_for(from_the_guide: dict[str, str]) -> None:
    from aetia.contracts import shop
    from aetia.model.tables import Telemetry

    spans = shop.shop(trouble="none").spans
    import pyarrow as pa
    import pyarrow.compute as pc

    again = spans.filter(
        pc.and_(pc.equal(spans["name"], "Quote"), pc.greater_equal(spans["time"].cast(pa.int64()), shop.ONSET_NS))
    )
    extra = [
        shop.replaced(again, span_id=[f"{n}{i}" for i in range(len(again))],
                      time=[t + n for t in again["time"].cast(pa.int64()).to_pylist()])
        for n in (1, 2, 3)
    ]  # fmt: skip
    storm = contracts.Situation("a storm", Telemetry(spans=pa.concat_tables([spans, *extra])))
    (finding,) = plugins.create("channel", "retry_storm").observe(storm.view()).findings
    assert finding.entity == entity.operation("prices", "Quote") and finding.score == 1.0


def test_explain_reads_the_channels_of_others(from_the_guide: dict[str, str]) -> None:
    answer = plugins.create("localizer", "explain").localize(contracts.quiet().view(), contracts.quiet().incident)
    assert "retry_storm" in answer.silent


def test_when_a_package_is_gone_so_are_its_plugins() -> None:
    assert "retry_storm" not in plugins.names("channel")


def test_a_kind_without_a_battery_cannot_be_checked_silently() -> None:
    plugin = plugins.Plugin(kind="sampler", name="new", module="acme.new", factory=Sound, summary="a sampler")
    with pytest.raises(ContractBroken, match="no battery for sampler"):
        contracts.check(plugin)


def test_an_unavailable_plugin_fails_with_its_reason() -> None:
    plugin = plugins.Plugin(kind=None, name="x", module="acme.x", factory=None, unavailable="ImportError: torch")
    with pytest.raises(ContractBroken, match="torch"):
        contracts.check(plugin)
