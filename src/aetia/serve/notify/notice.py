"""What is told about an incident: one typed value, the body of the generic webhook and the source of every message."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from aetia.model.diagnosis import Diagnosis, Evidence, Hypothesis, SliBreach
from aetia.report import wording

SCHEMA = "aetia.notice/1"
NoticeType = Literal["incident.opened", "incident.diagnosed", "incident.updated", "incident.closed", "incident.merged"]
EVIDENCE, ALTERNATIVES = 5, 3


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate: who, what fault (class A to F and kind, where known), how probable, decided or not."""

    component: str
    level: str
    fault_class: str | None
    fault: str | None
    probability: float | None
    verdict: str


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of evidence in a sentence; `id` is what the API rechecks."""

    id: str
    about: str
    text: str
    polarity: Literal["for", "against"]
    strength: float


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """One SLI that broke: shares in 0..1, latencies in ms, rates per second, unless `unit` says otherwise."""

    entry: str
    sli: str
    statistic: str
    usual: float
    now: float
    unit: str | None = None


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """Where a person and where a program finds the rest; empty where the server does not know its own address."""

    page: str = ""
    api: str = ""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `id` is the same whenever it is sent again; `sequence` counts those of an incident from 1.

    `root_causes` is the joint answer, empty while there is none; `abstained` then says why. `impact` are the requests
    that were hurt, of `requests`.
    """

    schema: str = SCHEMA
    id: str
    sequence: int
    type: NoticeType
    sent_at_ns: int
    incident: str
    state: str
    severity: str
    title: str
    headline: str = ""
    """The diagnosis in a sentence."""
    onset_ns: int
    ended_ns: int | None = None
    broken: tuple[Broken, ...] = ()
    root_causes: tuple[Cause, ...] = ()
    alternatives: tuple[Cause, ...] = ()
    abstained: str | None = None
    missing: tuple[str, ...] = ()
    evidence: tuple[Proof, ...] = ()
    propagation: tuple[str, ...] = ()
    affected: int = 0
    requests: int = 0
    alerts: tuple[str, ...] = ()
    merged_into: str | None = None
    links: Links = Links()


class Record(Protocol):
    """What a notice reads of an incident's record (`aetia.serve.incidents`)."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def severity(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def onset_ns(self) -> int: ...
    @property
    def ended_ns(self) -> int | None: ...
    @property
    def breaches(self) -> tuple[SliBreach, ...]: ...
    @property
    def merged_into(self) -> str | None: ...


def make_notice(
    record: Record,
    diagnosis: Diagnosis | None,
    *,
    type: NoticeType,
    sequence: int,
    now_ns: int,
    alerts: tuple[str, ...] = (),
    base_url: str = "",
) -> Notice:
    """A notice of an incident as it stands; `base_url` is the server's own address as others see it."""
    base = base_url.rstrip("/")
    links = Links(page=f"{base}/incidents/{record.id}", api=f"{base}/api/v1/incidents/{record.id}") if base else Links()
    notice = Notice(
        id=f"{record.id}.{sequence}", sequence=sequence, type=type, sent_at_ns=now_ns, incident=record.id,
        state=record.state, severity=record.severity, title=record.title, onset_ns=record.onset_ns,
        ended_ns=record.ended_ns, broken=tuple(_broken(item) for item in record.breaches), alerts=alerts,
        merged_into=record.merged_into, links=links,
    )  # fmt: skip
    return notice if diagnosis is None else _explained(notice, diagnosis)


def _explained(notice: Notice, diagnosis: Diagnosis) -> Notice:
    roots = wording.roots(diagnosis)
    others = [item for item in diagnosis.hypotheses if item not in roots][:ALTERNATIVES]
    return msgspec.structs.replace(
        notice,
        headline=wording.headline(diagnosis),
        root_causes=tuple(_cause(item) for item in roots),
        alternatives=tuple(_cause(item) for item in others),
        abstained=diagnosis.abstained,
        missing=diagnosis.missing[:ALTERNATIVES] if diagnosis.abstained is not None else (),
        evidence=tuple(_proof(item) for item in wording.decisive(diagnosis, EVIDENCE)),
        propagation=tuple(wording.path(diagnosis)[0]) if diagnosis.propagation else (),
        affected=diagnosis.impact.affected,
        requests=diagnosis.impact.requests,
    )


def _cause(item: Hypothesis) -> Cause:
    return Cause(
        component=item.entity.name, level=item.entity.level, fault_class=item.fault_class, fault=item.fault,
        probability=item.probability, verdict=item.verdict,
    )  # fmt: skip


def _proof(item: Evidence) -> Proof:
    return Proof(
        id=item.id, about=item.about.name, text=wording.claim(item), polarity=item.polarity, strength=item.strength,
    )  # fmt: skip


def _broken(item: SliBreach) -> Broken:
    return Broken(
        entry=item.entry.name, sli=item.sli, statistic=item.statistic, usual=item.baseline, now=item.incident,
        unit=item.unit,
    )  # fmt: skip
