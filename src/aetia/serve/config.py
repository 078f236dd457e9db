"""The configuration of the server: one TOML file, one struct per section, every key with its meaning.

`docs/configuration.md` is written from these structs. A key that does not exist is refused with the nearest that does.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard, cast

import msgspec
from msgspec import Meta

from aetia.detect.live import LiveSettings
from aetia.detect.objectives import Objective
from aetia.model.errors import ServeError
from aetia.serve.diagnosing import DiagnosisSettings
from aetia.serve.incidents.book import BookSettings
from aetia.store.settings import Settings

Positive = Meta(gt=0)
MIB, GIB = 1 << 20, 1 << 30


class ServerSection(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server listens, and who may ask."""

    host: Annotated[str, Meta(description="address to listen on; any but loopback needs tokens")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="port for OTLP/HTTP, API and pages; 0 takes a free one")] = (
        4318
    )
    grpc_port: Annotated[
        int, Meta(ge=0, le=65535, description="port for OTLP/gRPC, usually 4317; 0 takes none (needs `aetia[grpc]`)")
    ] = 0
    auth: Annotated[
        Literal["auto", "tokens"],
        Meta(description="`auto` asks for tokens unless only this machine can reach the server; `tokens` always"),
    ] = "auto"
    hosts: Annotated[
        tuple[str, ...],
        Meta(description="names under which the server may be addressed beside localhost; naming one needs tokens"),
    ] = ()
    public_url: Annotated[
        str, Meta(description="address under which people reach the pages, for links in messages; empty: its own")
    ] = ""
    tls_certificate: Annotated[str, Meta(description="file with the certificate chain (PEM); empty serves HTTP")] = ""
    tls_key: Annotated[str, Meta(description="file with the private key (PEM)")] = ""
    session_hours: Annotated[float, Positive, Meta(description="how long a login in the browser lasts")] = 12.0
    watch_itself: Annotated[
        bool, Meta(description="keep the server's own metrics and spans in its store, as service `aetia`")
    ] = True
    log_format: Annotated[Literal["text", "json"], Meta(description="lines on stderr")] = "text"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="least severe line")] = "info"


class LimitsSection(msgspec.Struct, frozen=True, kw_only=True):
    """What one request, and all of them together, may take."""

    body_mib: Annotated[float, Positive, Meta(description="body of one request as it was sent")] = 16.0
    decompressed_mib: Annotated[float, Positive, Meta(description="body of one request, decompressed")] = 64.0
    in_flight_mib: Annotated[
        float, Positive, Meta(description="bodies of all requests that are being received; beyond it: 429")
    ] = 256.0
    body_seconds: Annotated[float, Positive, Meta(description="time in which a body must have arrived")] = 30.0
    header_seconds: Annotated[float, Positive, Meta(description="time in which a request's head must have arrived")] = (
        10.0
    )
    durable_seconds: Annotated[
        float, Positive, Meta(description="time in which telemetry must be durable; beyond it: 503")
    ] = 20.0
    connections: Annotated[int, Positive, Meta(description="open connections; beyond it: 503")] = 1000
    headers: Annotated[int, Positive, Meta(description="headers of one request")] = 100
    head_kib: Annotated[int, Positive, Meta(description="URL and headers of one request together")] = 32
    url_kib: Annotated[int, Positive, Meta(description="URL of one request")] = 8
    query_threads: Annotated[int, Meta(ge=1, le=64, description="questions that are answered at once")] = 4
    query_queue: Annotated[int, Meta(ge=0, description="questions that may wait for their turn; beyond it: 429")] = 64
    query_seconds: Annotated[float, Positive, Meta(description="time for one answer; then it is stopped: 504")] = 30.0
    streams: Annotated[int, Meta(ge=0, description="clients that follow live at once; beyond it: 503")] = 100
    logins_per_minute: Annotated[int, Positive, Meta(description="failed logins from one address")] = 10


class StoreSection(Settings, frozen=True, kw_only=True):
    """What is kept, and for how long. Sizes are bytes, times seconds."""


class DetectionSection(LiveSettings, frozen=True, kw_only=True):
    """When harm to users is believed. The defaults fit exporters that send every 5 to 10 s."""

    enabled: Annotated[bool, Meta(description="watch the entry points and open incidents")] = True
    ignore_services: Annotated[tuple[str, ...], Meta(description="services whose requests are never judged")] = (
        "aetia",
    )


class IncidentsSection(BookSettings, frozen=True, kw_only=True):
    """When incidents close, come back, merge and are forgotten."""


class SloSection(Objective, frozen=True, kw_only=True):
    """A promise to users; one `[[slo]]` per promise. Without any, incidents open by comparison with the past alone."""


class SourceSection(msgspec.Struct, frozen=True, kw_only=True):
    """A system that telemetry is pulled from; one `[[sources]]` per system."""

    kind: Annotated[
        Literal["prometheus", "jaeger", "loki", "tempo", "clickhouse"], Meta(description="what speaks at the URL")
    ]
    url: Annotated[str, Meta(pattern="^https?://", description="where it is")]
    every_seconds: Annotated[float, Meta(ge=5, description="how often it is asked")] = 60.0
    private: Annotated[bool, Meta(description="the URL may lead to a private or loopback address")] = False


class NotifySection(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told of incidents; one `[[notify]]` per place."""

    kind: Annotated[Literal["webhook", "slack", "mattermost", "pagerduty"], Meta(description="what is spoken there")]
    url: Annotated[str, Meta(description="where to post; PagerDuty's own address where empty")] = ""
    secret_file: Annotated[str, Meta(description="file with the token, routing key or signing secret")] = ""
    channel: Annotated[str, Meta(description="channel of a chat")] = ""
    severity: Annotated[
        Literal["any", "minor", "major", "critical"], Meta(description="least severe incident that is told")
    ] = "any"
    private: Annotated[bool, Meta(description="the URL may lead to a private or loopback address")] = False


class RedactionSection(msgspec.Struct, frozen=True, kw_only=True):
    """What is masked before anything is written to disk."""

    enabled: Annotated[bool, Meta(description="mask secrets in attributes and log bodies")] = True
    off: Annotated[tuple[str, ...], Meta(description="names of built-in patterns that do not apply")] = ()
    keys: Annotated[
        tuple[str, ...], Meta(description="regular expressions for keys whose values are masked, beside the built-in")
    ] = ()
    values: Annotated[
        tuple[str, ...], Meta(description="regular expressions for what is masked inside values and log bodies")
    ] = ()


class DiagnosisSection(DiagnosisSettings, frozen=True, kw_only=True):
    """How incidents are diagnosed."""

    enabled: Annotated[bool, Meta(description="diagnose every incident that opens")] = True


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All sections; each may be absent."""

    server: ServerSection = msgspec.field(default_factory=ServerSection)
    limits: LimitsSection = msgspec.field(default_factory=LimitsSection)
    store: StoreSection = msgspec.field(default_factory=StoreSection)
    detection: DetectionSection = msgspec.field(default_factory=DetectionSection)
    incidents: IncidentsSection = msgspec.field(default_factory=IncidentsSection)
    slo: tuple[SloSection, ...] = ()
    sources: tuple[SourceSection, ...] = ()
    notify: tuple[NotifySection, ...] = ()
    redaction: RedactionSection = msgspec.field(default_factory=RedactionSection)
    diagnosis: DiagnosisSection = msgspec.field(default_factory=DiagnosisSection)


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "server": ServerSection, "limits": LimitsSection, "store": StoreSection, "detection": DetectionSection,
    "incidents": IncidentsSection, "diagnosis": DiagnosisSection, "redaction": RedactionSection, "slo": SloSection,
    "sources": SourceSection, "notify": NotifySection,
}  # fmt: skip
HIDDEN = frozenset({("store", "redact"), ("detection", "objectives")})
"""Fields of the structs that other sections set: [redaction] and [[slo]]."""
BOUNDLESS = frozenset({"max_age_seconds", "max_bytes"})
LISTS = ("slo", "sources", "notify")
"""Sections that may come several times, in double brackets."""


def read_config(path: Path | None) -> Config:
    """The configuration in a file, or the defaults. Raises ServeError that names the file, the key and the mend."""
    if path is None:
        return Config()
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ServeError(f"{path}: {error.strerror or error}; check the path of --config.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ServeError(f"{path} is no TOML: {error}.") from None
    return make_config(content, str(path))


def make_config(content: Mapping[str, Any], place: str = "the configuration") -> Config:
    """A configuration from plain values; raises ServeError as `read_config`."""
    for complaint in _unknown(content):
        raise ServeError(f"{place}: {complaint}")
    try:
        config = msgspec.convert(_boundless(content), Config)
    except msgspec.ValidationError as error:
        raise ServeError(f"{place}: {_readable(str(error))}; docs/configuration.md has every key.") from None
    for pattern in (*config.redaction.keys, *config.redaction.values):
        try:
            re.compile(pattern)
        except re.error as error:
            raise ServeError(f"{place}: redaction: '{pattern}' is no regular expression: {error}.") from None
    detection = msgspec.structs.replace(config.detection, objectives=config.slo)
    config = msgspec.structs.replace(config, detection=detection)
    if bool(config.server.tls_certificate) != bool(config.server.tls_key):
        raise ServeError(f"{place}: server: tls_certificate and tls_key need each other.")
    return config


def _boundless(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same with 0 read as no limit where there may be none, because TOML has no word for it."""
    store = content.get("store")
    if not isinstance(store, dict):
        return dict(content)
    held = cast("dict[str, Any]", store)
    return {**content, "store": {k: None if k in BOUNDLESS and v == 0 else v for k, v in held.items()}}


def _unknown(content: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each key that no section has."""
    for name, section in content.items():
        if name not in SECTIONS:
            yield _no_such(f"section [{name}]", name, tuple(SECTIONS))
            continue
        for part in cast("list[Any]", section) if isinstance(section, list) else [section]:
            yield from _unknown_keys(name, SECTIONS[name], part)


def _unknown_keys(place: str, kind: type, part: Any) -> Iterator[str]:
    """The same for one section, and for the tables in it."""
    held = {item.name: item.type for item in fields_of(kind) if (place, item.name) not in HIDDEN}
    for key, value in cast("dict[str, Any]", part).items() if isinstance(part, dict) else ():
        if key not in held:
            yield _no_such(f"key '{key}' in [{place}]", key, tuple(held))
        elif has_fields(table := held[key]):
            yield from _unknown_keys(f"{place}.{key}", table, value)


Field = dataclasses.Field[Any] | msgspec.structs.FieldInfo


def fields_of(kind: type) -> tuple[Field, ...]:
    """Fields of a section or of a table in it."""
    return dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else _struct_fields(kind)


def _struct_fields(kind: type) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(cast("type[msgspec.Struct]", kind))


def has_fields(kind: Any) -> TypeGuard[type]:
    """Whether a key holds a table with keys of its own."""
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct))


def _no_such(what: str, name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.5)
    mend = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}."
    return f"there is no {what}; {mend}"


def _readable(error: str) -> str:
    """`Expected int, got str - at $.server.port` → `server.port: expected int, got str`."""
    what, _, where = error.partition(" - at `$")
    path = where.strip("`").lstrip(".")
    return f"{path}: {what[:1].lower()}{what[1:]}" if path else what


def store_settings(config: Config) -> Settings:
    """The store's settings; whether it redacts is said in [redaction]."""
    return msgspec.structs.replace(config.store, redact=config.redaction.enabled)
