"""What a metric means, told from the whole words of its name, its unit and its labels; one table for all ecosystems.

A name is split at camel case, underscores, dots and dashes; the first rule whose words are all present decides.
Nothing is matched inside a word, so `forecast` is no `cast` and `memory` no `mem`-something.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import NamedTuple


class Kind(NamedTuple):
    """Meaning of a metric.

    `what`: cpu, memory, disk, network, latency, errors, success, traffic, restarts, gc, threads, pool, saturation,
    clock or other. `bad`: direction that hurts, +1 up, -1 down, 0 either. `scale` turns recorded values into `unit`
    (`ms`, `share`, `bytes`, `cores`, `count` or empty where it cannot be told). `statistic`: `p50`..`p999`, `mean`,
    `max`, `min` or `value`. `scope`: `node` (the machine), `container` or `service`; a node metric that is
    attached to an instance is evidence about the node.
    """

    what: str
    bad: int
    unit: str
    scale: float
    statistic: str
    scope: str


_SPLIT = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+(?:\d+[a-z]*)?|[A-Z]+\d*|\d+[a-z]*")
_LABELS = re.compile(r"\{.*\}$")
_BRACKETED = re.compile(r"[(\[]\s*([^)\]]*)\s*[)\]]\s*$")


def words_of(name: str) -> tuple[str, ...]:
    """The lower-case words of a metric name, a unit in brackets at its end left out."""
    return tuple(word.lower() for word in _SPLIT.findall(_BRACKETED.sub("", _LABELS.sub("", name))))


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FAILURE = _words(
    "error errors err fail failed failing failure failures exception exceptions 5xx fault faults timeout timeouts "
    "rejected rejections abort aborted"
)
_TIME = _words("latency latencies duration durations delay elapsed rt responsetime ttfb")
_REQUEST = _words(
    "request requests req reqs rq rpc http grpc response responses call calls query queries operation operations"
)
_TRAFFIC = _words(
    "request requests req reqs rq rps qps tps workload throughput calls call hits ops queries transactions messages "
    "invocations spans traffic load"
)
_MEMORY = _words("memory mem heap nonheap metaspace rss swap vsize oom")
_DISK = _words("disk disks diskio fs filesystem filesystems blkio io iops iowait volume storage inodes syscall")
_NETWORK = _words(
    "network net netstat tcp udp socket sockets sockstat tx rx bandwidth packet packets receive received transmit "
    "transmitted rtt dns nf conntrack"
)
_CONNECTION = _words("connection connections conn conns cx hikaricp jdbc dbcp connectionpool")
_QUEUE = _words(
    "queue queues queued queueing backlog lag pending inflight outstanding saturation pressure stalled waiting waiters"
)

# (what, bad, word groups of which each must be met). Order is precedence: the specific before the general.
_RULES: tuple[tuple[str, int, tuple[frozenset[str], ...]], ...] = tuple(
    (what, bad, tuple(_words(group) if isinstance(group, str) else group for group in groups))
    for what, bad, groups in (
        ("restarts", 1, ("restart restarts restarted restarting",)),
        ("restarts", 1, ("oom", "killed kill kills killer events")),
        ("restarts", 1, ("oomkilled oomkills crashloop crashloopbackoff terminated evicted",)),
        ("restarts", -1, ("uptime",)),
        ("restarts", -1, ("ready readiness liveness", "container pod pods replicas replica deployment k8s kube "
        "status instances")),
        ("restarts", -1, ("available desired", "replicas deployment statefulset daemonset")),
        ("clock", 0, ("timex ntp chrony clock clockskew drift", "offset skew drift error maxerror clock clockskew "
        "timex ntp chrony")),
        ("saturation", 1, ("throttled throttling throttle throttles cfs",)),
        ("gc", 1, ("gc garbage collector", "duration pause pauses time count collection collections seconds total "
        "cycles overhead sum max quantile rate")),
        ("gc", 1, ("pause pauses", "jvm gc runtime clr")),
        ("pool", 1, (_CONNECTION, "pending wait waiting waiters timeout timeouts acquire acquired borrowed")),
        ("pool", -1, (_CONNECTION, "idle available free")),
        ("pool", 0, (_CONNECTION, "max min limit maximum minimum capacity")),
        ("pool", 1, (_CONNECTION, "active used use usage busy utilization count open current leased")),
        ("memory", 1, ("memory heap", "pool")),
        ("pool", 1, ("pool", "pending wait waiting active used use usage exhausted utilization connections")),
        ("saturation", 1, ("executor threadpool", "queue queued pending rejected")),
        ("threads", 0, ("threads thread goroutines", "max core limit peak")),
        ("threads", 1, ("threads thread goroutines threadpool executor fibers",)),
        ("network", 1, (_NETWORK, "dropped drop drops discarded error errors errs retrans retransmits retransmit "
        "retransmitted retransmissions lost loss overflow collisions fifo timeouts resets rtt")),
        ("network", 1, ("drop drops dropped lost loss", "hubble packet packets forward cilium egress ingress")),
        ("network", 1, ("retrans retransmits retransmit retransmitted retransmissions rtt retranssegs packetloss "
        "conntrack",)),
        ("network", 1, ("network", "p50 p90 p95 p99 latency delay")),
        ("success", -1, ("success successes availability successful succeeded successrate apdex sli",)),
        ("memory", 1, ("page pgfault pgmajfault", "faults fault major minor memory pgfault pgmajfault")),
        ("errors", 1, ("retry retries retried",)),
        ("saturation", 1, ("rq request requests", "overflow")),
        ("cpu", 1, ("cpu load1 load5 load15 cpus millicores",)),
        ("cpu", 1, ("load", "average avg system node host")),
        ("saturation", 1, ("rq request requests", "active pending inflight flight")),
        ("disk", 1, (_DISK, "error errors")),
        ("memory", 1, ("memory", "failcnt failures failure")),
        ("errors", 1, (_FAILURE,)),
        ("memory", 1, (_MEMORY,)),
        ("memory", 1, ("memavailable memfree memtotal",)),
        ("disk", 1, (_DISK, "usage used utilization latency time await iowait queue busy wait util inflight")),
        ("disk", 0, (_DISK,)),
        ("latency", 1, (_TIME,)),
        ("latency", 1, (_REQUEST, "time seconds milliseconds millis ms microseconds micros quantile p50 p90 p95 "
        "p99")),
        ("network", 0, (_NETWORK, "bytes byte io traffic packets rate count total receive received transmit "
        "transmitted tx rx bandwidth errors connections socket sockets inuse alloc")),
        ("network", 0, (_REQUEST, "size bytes body")),
        ("saturation", 1, (_QUEUE,)),
        ("pool", 1, (_CONNECTION,)),
        ("traffic", 0, (_TRAFFIC,)),
        ("network", 0, (_NETWORK,)),
        ("gc", 1, ("gc",)),
        ("traffic", 0, ("received sent published consumed processed records",)),
    )
)  # fmt: skip

_FREE = _words("free available idle avail remaining memavailable memfree unused")
_FIXED = _words("limit limits quota capacity max maximum total allocatable spec memtotal size shares period")
_USAGE = _words("usage used use utilization working rss seconds time rate percent")
_NODE_FIRST = _words("node host machine system windows")
_CONTAINER = _words("container containers pod pods k8s kube kubernetes cadvisor")

_LENGTH_MS = {
    "s": 1e3, "sec": 1e3, "secs": 1e3, "second": 1e3, "seconds": 1e3, "ms": 1.0, "msec": 1.0, "millis": 1.0,
    "millisecond": 1.0,
    "milliseconds": 1.0, "us": 1e-3, "µs": 1e-3, "usec": 1e-3, "micros": 1e-3, "microsecond": 1e-3,
    "microseconds": 1e-3, "ns": 1e-6,
    "nanos": 1e-6, "nanosecond": 1e-6, "nanoseconds": 1e-6, "min": 6e4, "h": 3.6e6,
}  # fmt: skip
_SIZE_BYTES = {
    "by": 1.0, "b": 1.0, "byte": 1.0, "bytes": 1.0, "kby": 1e3, "kb": 1e3, "mby": 1e6, "mb": 1e6, "gby": 1e9,
    "gb": 1e9,
    "kiby": 1024.0, "kib": 1024.0, "ki": 1024.0, "kilobytes": 1e3, "mib": 2.0**20, "mi": 2.0**20, "miby": 2.0**20,
    "megabytes": 1e6,
    "gib": 2.0**30, "gi": 2.0**30, "giby": 2.0**30,
}  # fmt: skip
_SHARES = {
    "%": 0.01,
    "percent": 0.01,
    "percentage": 0.01,
    "pct": 0.01,
    "ratio": 1.0,
    "share": 1.0,
    "fraction": 1.0,
}
_SHARE_WORDS = _words("percent percentage pct ratio fraction")
_DURATIONS = frozenset({"latency", "gc", "pool", "network", "disk", "saturation", "clock"})
_QUANTILE = re.compile(r"p(50|75|90|95|98|99|999)")
_STATISTICS = {
    "avg": "mean",
    "average": "mean",
    "mean": "mean",
    "median": "p50",
    "max": "max",
    "maximum": "max",
    "min": "min",
    "minimum": "min",
}
_FREE_STATES = _words("idle free available cached buffered buffers slab_reclaimable committed_free")
_STATE_KEYS = ("state", "mode", "cpu.mode", "system.cpu.state", "system.memory.state", "cpu_mode")
OUTCOME_KEYS = (
    "code", "status", "status_code", "http_status_code", "http.status_code", "http.response.status_code",
    "response_code",
    "grpc_code", "grpc_status", "rpc.grpc.status_code", "grpc_response_status", "outcome", "result", "error",
    "response_code_class",
)  # fmt: skip
_GOOD_OUTCOMES = _words("ok success succeeded successful true_success hit completed none 0 informational redirection")


@functools.lru_cache(maxsize=4096)
def _of_name(name: str, unit: str) -> Kind:
    words = words_of(name)
    have = frozenset(words)
    what, bad = _meaning(have, words)
    if what in ("cpu", "memory", "disk", "pool", "threads"):
        bad = _resource_direction(have, bad)
    shown, scale = _unit(what, words, unit or _bracketed(name))
    return Kind(what, bad, shown, scale, _statistic(words), _scope(words))


def recognise(
    name: str, unit: str | None = None, type: str | None = None, labels: Mapping[str, str] | None = None
) -> Kind:
    """The meaning of one metric by name; `unit` may be UCUM (`By`, `ms`, `1`), a word, or null.

    `type` is the recorded type; a `histogram` of an unknown duration is a latency. `labels` refine: a `quantile`
    gives the statistic, an idle or free `state` turns the direction, a failing outcome makes traffic an error.
    """
    kind = _of_name(name, (unit or "").strip())
    if type == "histogram" and kind.what in ("other", "traffic") and (unit or "").strip().lower() in _LENGTH_MS:
        kind = Kind("latency", 1, "ms", _LENGTH_MS[(unit or "").strip().lower()], kind.statistic, kind.scope)
    if not labels:
        return kind
    quantile = labels.get("quantile")
    if quantile is not None:
        kind = kind._replace(statistic=quantile_name(quantile) or kind.statistic)
    if kind.what in ("cpu", "memory", "disk") and any(
        labels.get(key, "").lower() in _FREE_STATES for key in _STATE_KEYS
    ):
        kind = kind._replace(bad=-1)
    if kind.what == "traffic" and failed_outcome(labels):
        kind = kind._replace(what="errors", bad=1)
    return kind


def failed_outcome(labels: Mapping[str, str]) -> bool | None:
    """Whether the outcome label (HTTP status, gRPC code, result) means failure; None when there is none.

    HTTP failures are 5xx; gRPC codes 1..16 count as failures, by number or by name (OK and client-side
    cancellations aside).
    """
    for key in OUTCOME_KEYS:
        value = labels.get(key)
        if value is not None and value != "":
            return _fails(key, value.strip().lower())
    return None


def _fails(key: str, value: str) -> bool:
    if value.isdigit():
        number = int(value)
        return number >= 500 or (0 < number <= 16 and number != 1 and "http" not in key)
    if len(value) == 3 and value.endswith("xx"):
        return value[0] == "5"
    if value in ("true", "false"):
        return (value == "true") == (key == "error")
    return value not in _GOOD_OUTCOMES and value not in (
        "client_error",
        "cancelled",
        "canceled",
        "not_found",
        "already_exists",
    )


def quantile_name(text: str) -> str | None:
    """`p95` for `0.95`; None when the text is no quantile."""
    try:
        share = float(text)
    except ValueError:
        return None
    if not 0.0 <= share <= 1.0:
        return None
    return "p" + (f"{share * 100:g}".replace(".", "") if share < 1.0 else "100")


def _meaning(have: frozenset[str], words: tuple[str, ...]) -> tuple[str, int]:
    if words == ("up",):
        return "restarts", -1
    for what, bad, groups in _RULES:
        if all(have & group for group in groups):
            return what, bad
    return "other", 0


def _resource_direction(have: frozenset[str], bad: int) -> int:
    """Free amounts hurt when they fall; limits and capacities are no symptom at all."""
    if have & _FREE:
        return -1
    if have & (_FIXED - {"total", "max"}) and not have & _USAGE:
        return 0
    return 0 if "memtotal" in have or {"mem", "total"} <= have else bad


def _bracketed(name: str) -> str:
    found = _BRACKETED.search(name)
    return found.group(1) if found else ""


def _unit(what: str, words: tuple[str, ...], unit: str) -> tuple[str, float]:
    """Shown unit and scale; where neither unit nor name tells, values stay as they are."""
    lower = unit.lower()
    for told in (lower, *reversed(words)):
        # In a name `min` is the minimum and single letters are anything; minutes have to be given as the unit.
        spoken = told == lower or (len(told) > 1 and told != "min")
        if what != "cpu" and what in _DURATIONS and told in _LENGTH_MS and spoken:
            return "ms", _LENGTH_MS[told]
        if told in _SHARES and (told == lower or told in _SHARE_WORDS):
            return "share", _SHARES[told]
        if (
            what in ("memory", "disk", "network", "other", "gc")
            and told in _SIZE_BYTES
            and (told == lower or len(told) > 2)
        ):
            return "bytes", _SIZE_BYTES[told]
    if what == "cpu":
        return _cpu_unit(words, unit)
    if what == "success" and ("rate" in words or "availability" in words) and lower in ("", "1"):
        return "", 1.0
    if lower == "1" and ("utilization" in words or "ratio" in words or "share" in words):
        return "share", 1.0
    if unit.startswith("{") or what in ("restarts", "threads", "pool"):
        return "count", 1.0
    return "", 1.0


def _cpu_unit(words: tuple[str, ...], unit: str) -> tuple[str, float]:
    if unit == "m" or "millicores" in words:
        return "cores", 1e-3
    if "utilization" in words:
        return "share", 1.0
    if unit.lower() in ("s", "{cpu}", "cores", "core") or "seconds" in words or "cores" in words:
        return "cores", 1.0
    if unit.lower() == "ns" or "nanoseconds" in words or "nanocores" in words:
        return "cores", 1e-9
    return "", 1.0


def _statistic(words: tuple[str, ...]) -> str:
    for word in reversed(words):
        if _QUANTILE.fullmatch(word):
            return word
        if word in _STATISTICS:
            return _STATISTICS[word]
    if words and words[-1] in ("50", "75", "90", "95", "98", "99") and len(words) > 1:
        return "p" + words[-1]
    return "value"


def _scope(words: tuple[str, ...]) -> str:
    if "node" in words[:2] or (words and words[0] in _NODE_FIRST):
        return "node"
    return "container" if _CONTAINER & frozenset(words) else "service"
