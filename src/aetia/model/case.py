"""A labelled (or unlabelled) incident: windows, truth, provenance. The telemetry lies beside it."""

from __future__ import annotations

import msgspec

from aetia.model.window import Window


class Truth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One true root cause; what is unknown is None."""

    service: str | None = None
    instance: str | None = None
    node: str | None = None
    edge: tuple[str, str] | None = None
    operation: str | None = None
    fault_class: str | None = None
    fault: str | None = None
    onset_ns: int | None = None


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `case.json`; unknown keys in the file are ignored.

    `truth` is None when nothing is known about the cause (telemetry without labels) and an empty tuple when
    it is known that nothing failed. `baselines` overrides `baseline` for single tables (`spans`, `logs`,
    `metrics`), because public datasets record fault-free traces and fault-free metrics at different times.
    `group` names the part of its suite that the case belongs to, such as what makes it hard; figures are given per
    group.
    `label` is one of None, `absorbed` (the fault never hurt a user), `no_fault`, `load_surge`, `deploy`.
    """

    id: str
    system: str = "unknown"
    baseline: Window | None = None
    incident: Window | None = None
    truth: tuple[Truth, ...] | None = None
    baselines: dict[str, tuple[Window, ...]] = {}
    sli: dict[str, object] = {}
    label: str | None = None
    group: str | None = None
    license: str | None = None
    source: str | None = None

    def baseline_windows(self, table: str) -> tuple[Window, ...]:
        """The baseline windows that hold for one table; empty when none is given."""
        if table in self.baselines:
            return self.baselines[table]
        return (self.baseline,) if self.baseline is not None else ()
