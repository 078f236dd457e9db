"""The answer and its proof: evidence, hypotheses, incident, diagnosis. All of it is JSON by msgspec."""

from __future__ import annotations

import hashlib
import math
from typing import Any, Literal

import msgspec

from aetia.model.entity import Entity
from aetia.model.faults import FaultClass
from aetia.model.window import Window

Direction = Literal["up", "down", "new", "gone", "changed"]
Verdict = Literal["open", "supported", "refuted", "verified"]


class Query(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to run again to see the evidence: a channel's name and the arguments of its `measure`; and the
    windows it was measured on, where they are not those of the diagnosis's incident."""

    channel: str
    args: dict[str, Any]
    incident: Window | None = None
    baselines: dict[str, tuple[Window, ...]] = {}
    """Baseline windows per table (`spans`, `logs`, `metrics`, `changes`)."""
    kind: Literal["channel", "tool", "detector"] = "channel"
    """What `channel` names: a channel of evidence, a tool of the investigation or a detector; they may share a name."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What the evidence says: `what` moved in `direction` by `magnitude` (a ratio, a share or a difference,
    as `unit` says), first seen at `onset_ns`."""

    what: str
    direction: Direction
    magnitude: float
    unit: str
    onset_ns: int | None = None
    text: str = ""
    """One sentence for a person."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One fact that anyone can re-run. `id` is a content hash; `digest` is that of the query's result. `strength` is
    how much it says about who is to blame: that users are hurt says nothing of that, and has none."""

    id: str
    about: Entity
    claim: Claim
    polarity: Literal["for", "against"]
    strength: float
    query: Query
    result: dict[str, Any]
    digest: str
    fault_class: FaultClass | None = None
    """The class of fault that such a fact is a sign of, where it is the sign of one."""
    own: bool | None = None
    """True where it can only have begun at the entity, False where a callee or a host may explain it."""


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """The three questions about one candidate, answered together, each with the evidence it is answered by: is it
    abnormal (detection); what kind of fault is it and how bad there (triage); did it begin there (localization).
    None is an open question. `severity` is 0..1: the share of the candidate's own requests that went wrong, or how
    surely its metrics or lines did, by the modality that shows most; None where nobody has asked."""

    abnormal: bool | None = None
    abnormal_by: tuple[str, ...] = ()
    fault_class: FaultClass | None = None
    severity: float | None = None
    triage_by: tuple[str, ...] = ()
    origin: bool | None = None
    origin_by: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    """Modalities that contradict one another."""


class Hypothesis(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate root cause. `score` orders hypotheses (higher = more suspicious)."""

    entity: Entity
    score: float
    probability: float | None = None
    fault_class: FaultClass | None = None
    fault: str | None = None
    onset_ns: int | None = None
    evidence: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    verdict: Verdict = "open"
    reason: str = ""
    assessment: Assessment | None = None
    """For the candidates that lead."""


class SliBreach(msgspec.Struct, frozen=True, kw_only=True):
    """One broken SLI of one entry point; rates are per second, latencies in ms, shares in 0..1, unless `unit` says
    otherwise: SLIs from metrics keep theirs, `""` where none is known."""

    entry: Entity
    sli: Literal["latency", "success", "throughput"]
    statistic: str
    baseline: float
    incident: float
    onset_ns: int
    p_value: float
    requests: int
    affected: int
    unit: str | None = None
    evidence: str | None = None
    """The evidence that measures it again; None where nobody has proven it."""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Users are hurt in `window`; `baseline` is what it is compared with. `given`: windows came from the caller."""

    baseline: Window
    window: Window
    onset_ns: int
    breaches: tuple[SliBreach, ...] = ()
    given: bool = False


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One edge of the propagation, in the direction in which the fault travelled (root first)."""

    source: str
    target: str
    relation: str
    onset_ns: int | None = None
    evidence: str | None = None


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """Who was hurt: the broken entry points, their requests in the window (with those that should have come where they
    stayed away), and how many of these failed, were slow or did not come. `evidence` counts them again."""

    entries: tuple[str, ...] = ()
    requests: int = 0
    affected: int = 0
    evidence: str | None = None


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence and the ids of the evidence that holds its numbers."""

    text: str
    evidence: tuple[str, ...] = ()


class Severity(msgspec.Struct, frozen=True, kw_only=True):
    """How badly users are hurt, by numbers of the incident alone; docs/detection.md has the thresholds.

    `share` is the weighed share of all users' requests that were hurt (a lower bound where metrics alone tell), None
    where nothing tells it; then the level is unknown. `lasts` says whether it goes on at the end of the data, and
    `until_ns` when it was last seen: the end of the data where it goes on."""

    level: Literal["critical", "major", "minor", "unknown"]
    share: float | None = None
    lasts: bool | None = None
    until_ns: int | None = None
    trend: Literal["growing", "steady", "easing"] | None = None
    facts: tuple[Fact, ...] = ()


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer took."""

    seconds: float = 0.0
    rows: dict[str, int] = {}
    tokens: int = 0
    money: float | None = None
    """What the tokens cost by the prices that were given, in their currency; None without any."""


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    """What was done about an earlier incident, in a person's words, and whether it helped."""

    action: str
    worked: bool


class Precedent(msgspec.Struct, frozen=True, kw_only=True):
    """Another incident that is like this one, should the candidate of that name be its cause. No evidence of it.

    `id` is what `aetia memory show` takes; `component`, `fault_class` and `fault` are what caused it, `likeness` (0..1)
    is that of the structures, `weight` (0..1) what trust, age and doubts (`why`) leave of it, `source` whose voice.
    """

    id: str
    candidate: str
    component: str
    fault_class: str | None
    fault: str | None
    happened_ns: int
    likeness: float
    weight: float
    source: str
    vouched: Literal["person", "checks"]
    remedies: tuple[Remedy, ...] = ()
    why: tuple[str, ...] = ()


class DroppedRows(msgspec.Struct, frozen=True, kw_only=True):
    table: str
    rows: int
    reason: str
    source: str = ""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer. Either `hypotheses` are ranked and the first is the root cause, or `abstained` says
    why there is no answer and `missing` what would be needed. `roots` is the joint answer (1 to 3 entities)."""

    schema: str = "aetia.diagnosis/1"
    case: str | None = None
    source: tuple[str, ...] = ()
    localizer: str
    incident: Incident | None
    hypotheses: tuple[Hypothesis, ...] = ()
    roots: tuple[int, ...] = ()
    """Indices into `hypotheses` that together explain the incident."""
    evidence: tuple[Evidence, ...] = ()
    propagation: tuple[Hop, ...] = ()
    impact: Impact = Impact()
    severity: Severity | None = None
    rejected: tuple[Hypothesis, ...] = ()
    abstained: str | None = None
    missing: tuple[str, ...] = ()
    silent: dict[str, str] = {}
    """Channels that had nothing to say, and why."""
    dropped: tuple[DroppedRows, ...] = ()
    cost: Cost = Cost()
    precedents: tuple[Precedent, ...] = ()
    """What a memory of incidents reminded the investigation of before it began; orders questions, moves no belief."""


def canonical(value: Any) -> Any:
    """JSON-able form with floats rounded to 6 significant digits, so that digests survive summation order."""
    if isinstance(value, dict):
        return {str(key): canonical(item) for key, item in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, bool) or value is None or isinstance(value, str | int):
        return value
    number = float(value)
    if not math.isfinite(number):
        return None
    return float(f"{number:.6g}")


def digest(value: Any) -> str:
    """16 hex digits of the SHA-256 of the canonical JSON of a value."""
    return hashlib.sha256(msgspec.json.encode(canonical(value))).hexdigest()[:16]


def make_evidence(
    *,
    about: Entity,
    claim: Claim,
    polarity: Literal["for", "against"],
    strength: float,
    query: Query,
    result: dict[str, Any],
    fault_class: FaultClass | None = None,
    own: bool | None = None,
) -> Evidence:
    """Evidence with its content hash and result digest filled in."""
    clean: dict[str, Any] = canonical(result)
    result_digest = digest(clean)
    identity = digest([msgspec.to_builtins(about), msgspec.to_builtins(query), result_digest, polarity])
    return Evidence(
        id=f"E{identity}",
        about=about,
        claim=msgspec.structs.replace(claim, magnitude=float(claim.magnitude)),  # a numpy float is no JSON
        polarity=polarity,
        strength=round(float(strength), 4),
        query=query,
        result=clean,
        digest=result_digest,
        fault_class=fault_class,
        own=own,
    )
