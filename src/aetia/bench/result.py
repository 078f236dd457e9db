"""Rows per case, results per suite × system × localizer, and their JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from aetia.bench.calibration import Reliability, RiskCoverage
from aetia.bench.intervals import Estimate
from aetia.bench.messages import Investigated
from aetia.bench.scoring import Score
from aetia.model.errors import BenchError, ReportError
from aetia.report.writing import write_atomic

SCHEMA = "aetia.bench/1"
UNPERTURBED = "none"


class Row(Score, kw_only=True):
    """One case, one localizer or policy on top of it: its score and what it cost.

    `seconds` is the wall time of `localize` on loaded telemetry; reading the case (`load_seconds`), building
    the shared frames (`facts_seconds`) and detection (`detect_seconds`) are paid once per case and stand
    apart. `peak_rss_mb` is the resident peak of the worker while the localizer ran, telemetry included.
    `onset_error_s` is detected minus true onset. `spurious` counts detected incidents outside the true
    window. Of a policy, `seconds` are the localizer's and its own, and `repeat` is the number of the run.
    """

    suite: str
    system: str
    case: str
    localizer: str
    policy: str | None = None
    onset: str = "given"
    perturbation: str = UNPERTURBED
    seed: int = 0
    label: str | None = None
    group: str | None = None
    seconds: float | None = None
    load_seconds: float | None = None
    facts_seconds: float | None = None
    detect_seconds: float | None = None
    peak_rss_mb: float | None = None
    opened: bool | None = None
    onset_error_s: float | None = None
    spurious: int = 0
    fingerprint: str = ""
    repeat: int = 0
    investigated: Investigated | None = None

    @property
    def key(self) -> tuple[str, ...]:
        place = (self.suite, self.system, self.case)
        method = (self.localizer, self.policy or "", str(self.repeat))
        return (*place, *method, self.onset, self.perturbation, self.fingerprint)

    @property
    def method(self) -> str:
        """The localizer, or the policy on top of it."""
        return label_of(self.localizer, self.policy)


def label_of(localizer: str, policy: str | None) -> str:
    """What a localizer, or a policy on top of it, is called in a leaderboard."""
    return localizer if policy is None else f"{localizer} + {policy}"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The cases of one fault class, one fault or one group."""

    n: int
    ac1: Estimate
    ac5: Estimate
    avg5: Estimate


class FaultFree(msgspec.Struct, frozen=True, kw_only=True):
    """Cases without a fault: `answered` are false incidents, `opened` those where the detector opened one."""

    n: int = 0
    answered: int = 0
    opened: int = 0
    failed: int = 0
    false_incident_rate: Estimate = Estimate()


class Absorbed(msgspec.Struct, frozen=True, kw_only=True):
    """Faults that never hurt a user: silence is right, naming the true root is right too, the rest is
    wrong."""

    n: int = 0
    silent: int = 0
    named: int = 0
    wrong: int = 0


class Paired(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison with the best other localizer on the same cases. `wins`: cases that only we solved at rank
    1."""

    rival: str
    n: int
    ac1_difference: Estimate
    avg5_difference: Estimate
    wins: int
    losses: int
    mcnemar_p: float


class Addition(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy added to the localizer under it on the same cases: differences of the mean over its repeats, and
    the cases that only one of the two solved at rank 1 (first repeat)."""

    n: int
    ac1_difference: Estimate
    avg5_difference: Estimate
    wins: int
    losses: int
    mcnemar_p: float


class Consistency(msgspec.Struct, frozen=True, kw_only=True):
    """Over the repeats of every case: `any_of` (pass@k) is the chance that one of k runs solves it, `all_of` (pass^k)
    that all of k do, for k = 1 to the number of repeats."""

    repeats: int
    any_of: tuple[Estimate, ...]
    all_of: tuple[Estimate, ...]


class Budgeted(msgspec.Struct, frozen=True, kw_only=True):
    """Solved against one budget, judged at any time: `area` is the mean share of 0..`budget` over which the answer at
    hand was right, `added` that minus the localizer's on the same cases. `curve` holds (spent, share of the cases whose
    answer at hand is right)."""

    budget: float
    area: Estimate
    added: Estimate = Estimate()
    curve: tuple[tuple[float, float], ...] = ()


class Abstention(msgspec.Struct, frozen=True, kw_only=True):
    """A policy against its localizer on the same labelled cases (first repeat): the share answered, the share of
    answers that are wrong, and the mean risk over the risk-coverage curve, each as policy minus localizer; `silenced_*`
    count wrong and right answers of the localizer where the policy gives none."""

    n: int
    coverage: Estimate
    risk: Estimate
    aurc: Estimate
    silenced_wrong: int
    silenced_right: int


class PolicyResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy's investigations cost, added and showed, over all repeats. `by_class` and `by_group` have what was
    added per fault class and per group of the suite; `budgets` is by `seconds`, `calls` and `tokens`; `warned` and
    `stopped` are shares of the `runs` in which a check warned or ended the policy."""

    runs: int
    calls_mean: float
    tokens_mean: float
    added_s_p50: float | None
    added_s_p95: float | None
    cost_mean: float | None = None
    """Of one investigation, by the prices that were given; None without any."""
    outcomes: dict[str, int] = {}
    added: Addition | None = None
    by_class: dict[str, Addition] = {}
    by_group: dict[str, Addition] = {}
    consistency: Consistency | None = None
    budgets: dict[str, Budgeted] = {}
    abstention: Abstention | None = None
    faithfulness: Estimate = Estimate()
    claims: int = 0
    unconfirmed: int = 0
    coverage: Estimate = Estimate()
    facts: dict[str, Estimate] = {}
    warned: dict[str, Estimate] = {}
    stopped: dict[str, int] = {}


class FailureCount(msgspec.Struct, frozen=True, kw_only=True):
    """Failures of one kind, with the cases they happened on."""

    failure: str
    cases: tuple[str, ...]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One localizer, or policy on top of it (its first repeat), on one system of one suite. `n` is the number of cases
    with a fault, the denominator of every average from `ac1` to `fault_class_f1`; `cases` is the number of all
    requested cases."""

    suite: str
    system: str
    localizer: str
    policy: str | None
    onset: str
    perturbation: str = UNPERTURBED
    n: int
    cases: int
    ac1: Estimate
    ac3: Estimate
    ac5: Estimate
    avg5: Estimate
    mrr: Estimate
    exact_set: Estimate
    fault_class_f1: Estimate
    seconds_p50: float | None
    seconds_p95: float | None
    peak_rss_mb: float | None
    failed: int
    empty: int
    abstained: int
    undetected: int = 0
    unapplied: int = 0
    unlabelled: int = 0
    load_seconds_p50: float | None = None
    facts_seconds_p50: float | None = None
    fault_free: FaultFree = FaultFree()
    absorbed: Absorbed = Absorbed()
    by_class: dict[str, Part] = {}
    by_fault: dict[str, Part] = {}
    by_group: dict[str, Part] = {}
    levels: dict[str, dict[str, float]] = {}
    calibration: Reliability | None = None
    risk_coverage: RiskCoverage | None = None
    utility_triage: float | None = None
    utility_repair: float | None = None
    effectiveness_60s: float | None = None
    onset_error_s_p50: float | None = None
    spurious_incidents: int = 0
    paired: Paired | None = None
    failures: tuple[FailureCount, ...] = ()
    investigations: PolicyResult | None = None

    @property
    def method(self) -> str:
        """The localizer, or the policy on top of it."""
        return label_of(self.localizer, self.policy)


class BenchResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one run says. `pooled` holds the same results over all systems, where there are several."""

    schema: str = SCHEMA
    results: tuple[Result, ...] = ()
    pooled: tuple[Result, ...] = ()
    cases: tuple[Row, ...] = ()
    settings: dict[str, object] = {}

    def find(self, localizer: str, *, policy: str | None = None, **where: str) -> Result:
        """The one result of a localizer, or of a policy on top of it; `where` narrows by suite, system, onset or
        perturbation.

        Raises BenchError when none or several match."""
        found = [
            r for r in self.results
            if (r.localizer, r.policy) == (localizer, policy) and all(getattr(r, k) == v for k, v in where.items())
        ]  # fmt: skip
        if len(found) != 1:
            described = ", ".join((label_of(localizer, policy), *where.values()))
            raise BenchError(f"{len(found)} results match {described}; narrow by suite, system, onset, perturbation.")
        return found[0]


def write_result(result: BenchResult, path: Path) -> None:
    """Write the JSON atomically: a broken run leaves no half file behind.

    Raises BenchError when the folder cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, msgspec.json.format(msgspec.json.encode(result), indent=1).decode())
    except OSError as error:
        raise BenchError(f"{path}: cannot be written ({error.strerror}); choose another --json path.") from error
    except ReportError as error:
        raise BenchError(str(error)) from error


class _Frame(msgspec.Struct, frozen=True):
    """What tells a bench result from other JSON. `BenchResult` has a default for everything, and would take any."""

    schema: Literal["aetia.bench/1"]
    results: msgspec.Raw
    cases: msgspec.Raw


def read_result(path: Path) -> BenchResult:
    """Read what `write_result` wrote. Raises BenchError with the place when it is something else."""
    try:
        data = path.read_bytes()
        msgspec.json.decode(data, type=_Frame)
        return msgspec.json.decode(data, type=BenchResult)
    except OSError as error:
        raise BenchError(
            f"{path}: cannot be read ({error.strerror}); give a file written by `aetia bench run --json`."
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BenchError(
            f"{path}: is not a bench result ({error}); give a file written by `aetia bench run --json`."
        ) from error


def merge_rows(parts: Iterable[Sequence[Row]]) -> list[Row]:
    """Rows of several runs, the last one of each case, localizer, onset and perturbation, in a fixed
    order."""
    rows = {row.key[:-1]: row for part in parts for row in part}
    return [rows[key] for key in sorted(rows)]
