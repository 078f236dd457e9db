"""Incidents that live on: opened by broken SLIs, alerts and people, kept on disk, told to whoever listens."""

from aetia.serve.incidents.book import BookSettings, IncidentBook
from aetia.serve.incidents.records import (
    Alert,
    DiagnosisSummary,
    IncidentEvent,
    IncidentFilter,
    IncidentPage,
    IncidentRecord,
    Note,
    UnknownIncident,
)

__all__ = [
    "Alert",
    "BookSettings",
    "DiagnosisSummary",
    "IncidentBook",
    "IncidentEvent",
    "IncidentFilter",
    "IncidentPage",
    "IncidentRecord",
    "Note",
    "UnknownIncident",
]
