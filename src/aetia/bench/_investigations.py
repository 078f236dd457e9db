"""The part of the leaderboard about policies: what they added, cost and showed, on top of their localizers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aetia.bench._render import DASH, Block, Heading, Table, interval, seconds_text, value
from aetia.bench.result import Addition, PolicyResult, Result
from aetia.reason.checks.registry import TITLES

Item = tuple[Result, PolicyResult]


def investigation_blocks(results: Sequence[Result]) -> list[Block]:
    """All tables about the policies among some results, in their order; empty where there is none."""
    items = [(result, result.investigations) for result in results if result.investigations is not None]
    if not items:
        return []
    return [
        *_added(items), *_answers(items), *_costs(items), *_budgets(items), *_abstention(items), *_consistency(items),
        *_failures(items),
    ]  # fmt: skip


def _label(item: Item) -> list[str]:
    return [item[0].method, item[0].onset]


def _additions(found: PolicyResult) -> Iterator[tuple[str, Addition]]:
    if found.added is not None:
        yield "all", found.added
    yield from ((f"class {name}", one) for name, one in found.by_class.items())
    yield from ((f"group {name}", one) for name, one in found.by_group.items())


def _added(items: Sequence[Item]) -> list[Block]:
    rows = [
        [*_label(item), name, str(one.n), interval(one.ac1_difference), interval(one.avg5_difference),
         f"{one.wins} : {one.losses}", f"{one.mcnemar_p:.3g}"]
        for item in items for name, one in _additions(item[1])
    ]  # fmt: skip
    header = ("policy", "onset", "part", "cases", "AC@1 difference", "Avg@5 difference",
              "only the policy : only the localizer", "McNemar p")  # fmt: skip
    return [Heading(3, "What a policy added to its localizer"), Table(header, rows)] if rows else []


def _answers(items: Sequence[Item]) -> list[Block]:
    rows = [
        [*_label(item), str(item[1].claims), str(item[1].unconfirmed), interval(item[1].faithfulness),
         interval(item[1].coverage), *(value(item[1].facts.get(fact)) for fact in ("root", "class", "path"))]
        for item in items
    ]  # fmt: skip
    header = ("policy", "onset", "claims", "not confirmed", "faithfulness", "coverage", "root named", "class named",
              "path named")  # fmt: skip
    return [Heading(3, "Explanations: are the claims true, and are the decisive facts named"), Table(header, rows)]


def _costs(items: Sequence[Item]) -> list[Block]:
    rows: list[list[str]] = []
    priced = any(found.cost_mean is not None for _, found in items)
    for item in items:
        found = item[1]
        spent = [f"{found.calls_mean:.1f}", f"{found.tokens_mean:.0f}"]
        if priced:
            spent.append(DASH if found.cost_mean is None else f"{found.cost_mean:.4g}")
        spent += [seconds_text(found.added_s_p50), seconds_text(found.added_s_p95)]
        ended = ", ".join(f"{name} {count}" for name, count in found.outcomes.items())
        rows.append([*_label(item), str(found.runs), *spent, ended or DASH])
    header = ("policy", "onset", "runs", "calls", "tokens", *(("cost",) if priced else ()), "added p50 s",
              "added p95 s", "how they ended")  # fmt: skip
    return [Heading(3, "What investigations cost"), Table(header, rows)]


def _budgets(items: Sequence[Item]) -> list[Block]:
    """The area under solved-against-budget, and the curve."""
    rows = [
        [*_label(item), f"{one.budget:g} {of}", interval(one.area), interval(one.added),
         ", ".join(f"{value(share)} at {at:g}" for at, share in one.curve)]
        for item in items for of, one in item[1].budgets.items()
    ]  # fmt: skip
    header = ("policy", "onset", "budget", "area", "added to the localizer's", "answer at hand right")
    return [Heading(3, "Solved against budget, by the answer at hand"), Table(header, rows)] if rows else []


def _abstention(items: Sequence[Item]) -> list[Block]:
    """Risk and coverage against the localizer's; the figures of each stand among those of all methods."""
    rows = [
        [*_label(item), str(one.n), interval(one.coverage), interval(one.risk), interval(one.aurc),
         str(one.silenced_wrong), str(one.silenced_right)]
        for item in items if (one := item[1].abstention) is not None
    ]  # fmt: skip
    header = ("policy", "onset", "cases", "coverage difference", "risk difference", "AURC difference",
              "wrong answers withheld", "right answers withheld")  # fmt: skip
    return [Heading(3, "Abstention against the localizer"), Table(header, rows)] if rows else []


def _consistency(items: Sequence[Item]) -> list[Block]:
    rows: list[list[str]] = []
    for item in items:
        found = item[1].consistency
        if found is not None:
            for k, (some, every) in enumerate(zip(found.any_of, found.all_of, strict=True), 1):
                rows.append([*_label(item), str(found.repeats), str(k), interval(some), interval(every)])
    header = ("policy", "onset", "repeats", "k", "pass@k", "pass^k")
    return [Heading(3, "Consistency over repeats"), Table(header, rows)] if rows else []


def _failures(items: Sequence[Item]) -> list[Block]:
    """Rates of the failures of reasoning: a row per check, a column per policy."""
    rows = [
        [f"{code} {title}", *(f"{interval(rate)}{_ended(found, code)}" if (rate := found.warned.get(code)) else DASH
                              for _, found in items)]
        for code, title in TITLES.items()
    ]  # fmt: skip
    header = ("share of investigations with", *(" ".join((result.method, result.onset)) for result, _ in items))
    return [Heading(3, "Failures of reasoning"), Table(header, rows)]


def _ended(found: PolicyResult, code: str) -> str:
    return f", ended {found.stopped[code]}" if code in found.stopped else ""
