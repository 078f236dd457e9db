"""How severe an incident is, in plain words, by numbers of the harm alone: for a person who has just been woken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from aetia.model.diagnosis import Fact, Severity
from aetia.model.quantities import duration_ns, number, percent

CRITICAL = 0.25
"""Weighed share of all users' requests from which on an incident is critical. Of visits of five requests each, three in
four meet it; the failures that an objective of 99.9 % allows in a month are spent in three hours."""
KINDS = {"failed": "failed", "slow": "were slow", "missing": "did not come"}
"""How requests are hurt, worst first, in words."""
MAJOR = 0.05
"""And major: one visit in four meets it, and a month's failures are spent within a day. What is less is minor."""


def severity_of(harm: dict[str, Any] | None, evidence: str | None) -> Severity:
    """The severity of what `SliDetector.measure` found of all harm; unknown where no SLI broke or no share is told.

    What counts is the weighed share of all users' requests over the window. Where harm goes on and grows, it is that of
    its last third, since this is what users meet now.
    """
    if harm is None or evidence is None:
        nothing = Fact(text="no SLI of an entry point broke in this window, so no harm to users was measured")
        return Severity(level="unknown", facts=(nothing,))
    share = harm["weighed"]
    if harm["lasts"] and harm.get("trend") == "growing":
        share = harm["weighed_last"]
    return Severity(
        level=level_of(share), share=share, lasts=harm["lasts"], until_ns=harm["until_ns"], trend=harm.get("trend"),
        facts=tuple(Fact(text=text, evidence=(evidence,)) for text in _facts(harm)),
    )  # fmt: skip


def level_of(share: float | None) -> Literal["critical", "major", "minor", "unknown"]:
    """The word for a weighed share of all users' requests."""
    if share is None:
        return "unknown"
    return "critical" if share >= CRITICAL else "major" if share >= MAJOR else "minor"


def where(harm: dict[str, Any]) -> str:
    """How many places are hurt: `2 of 5 entry points`; services where nothing says which ones users meet."""
    if harm["entry_points"] is None:
        return "1 service" if harm["broken"] == 1 else f"{harm['broken']} services"
    return f"{harm['broken']} of {harm['entry_points']} entry points"


def _facts(harm: dict[str, Any]) -> Iterator[str]:
    if harm.get("requests"):
        hurt = ", ".join(f"{number(harm[kind])} {words}" for kind, words in KINDS.items() if harm[kind])
        yield f"of all {number(harm['all_requests'])} requests of users {hurt} ({percent(harm['of_all'])})"
    elif harm["weighed"] is not None:
        yield f"as far as metrics tell, {percent(harm['weighed'])} of the requests are hurt at least, weighed"
    else:
        yield "nothing recorded says how many requests were hurt"
    yield f"{where(harm)} broke"
    if harm.get("trend") is not None:
        first, last = percent(harm["first_third"]), percent(harm["last_third"])
        yield f"{harm['trend']}: {first} of the requests there are hurt in its first third, {last} in its last"
    if harm["lasts"]:
        yield "it still goes on at the end of the data"
    elif harm["lasts"] is None:
        yield "whether it still goes on at the end of the data cannot be told"
    else:
        yield f"it was over {duration_ns(harm['data_end_ns'] - harm['until_ns'])} before the end of the data"
