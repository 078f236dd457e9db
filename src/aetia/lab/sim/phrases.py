"""The texts of generated log lines. `{}` is a number, `{ms}` a duration, `{n}` another number."""

from __future__ import annotations

from aetia.lab.sim.spans import EXCEPTIONS

BASIC = (
    "{action} handled for user {} in {ms} ms",
    "processing {action} request id={}",
    "{action} ok, {n} rows, key={}",
    "start {action} order={}",
    "finished {action} in {ms} ms",
    "[{}] {action} accepted, {n} items",
    "user {} authorised for {action}",
    "lookup {action} key:{} took {ms} ms",
    "{action}: validated payload of {n} bytes for account {}",
    "sent reply to {action} call {}",
)

# (share of the spans that write it, severity, text, side) by cause; the order is that of the causes in state.py.
CAUSES: tuple[tuple[float, str, str, str], ...] = (
    (0.0, "info", "", ""),
    (1.0, "error", "unhandled exception in {action} for request {}\n{trace}", "server"),
    (0.6, "error", "{action} failed for request {}: downstream call did not succeed", "server"),
    (1.0, "error", "could not get a connection from the pool within {ms} ms, request {}", "server"),
    (1.0, "error", "write failed for request {}: no space left on device", "server"),
    (1.0, "error", "{action} aborted for request {}: invalid configuration value\n{trace}", "server"),
    (1.0, "error", "unexpected state in {action} for request {}\n{trace}", "server"),
    (0.0, "info", "", ""),
    (0.0, "info", "", ""),
    (0.5, "warn", "{action} cancelled by the caller after {ms} ms", "server"),
    (0.7, "warn", "task rejected, queue is full, request {}", "server"),
    (0.5, "warn", "{action}: optional data missing for request {}, default used", "server"),
    (0.8, "warn", "token of request {} is not yet valid or expired", "server"),
    (0.9, "error", "connect to {peer} failed: connection refused, request {}", "client"),
    (0.8, "error", "call to {peer} timed out after {ms} ms, request {}", "client"),
    (0.9, "error", "cannot resolve {peer}: name or service not known, request {}", "client"),
    (0.9, "error", "connect to {peer} timed out after {ms} ms", "client"),
    (0.5, "warn", "call to {peer} returned an error for request {}", "client"),
    (0.9, "error", "cannot build the answer of {action} for request {}: a field is missing\n{trace}", "server"),
)

LIFE: dict[str, tuple[str, str]] = {
    "starting": ("info", "starting process, pid {}"),
    "started": ("info", "started in {n} ms, listening on port 8080"),
    "pause": ("warn", "garbage collector pause of {n} ms"),
    "memory": ("warn", "memory is low, {n} kB left in old space"),
    "noise": ("error", "background export {} failed, will try again"),
}

# (severity, text, lines per second and instance): chatter, and errors that mean nothing for users.
BACKGROUND: tuple[tuple[str, str, float], ...] = (
    ("info", "scheduled cleanup removed {} entries in {n} ms", 0.03),
    ("debug", "heartbeat {} sent", 0.1),
    ("info", "metrics flushed, {} points", 0.05),
    ("info", "cache refreshed, {n} keys", 0.03),
    ("warn", "slow background query took {n} ms", 0.008),
    ("warn", "retrying export of batch {}, attempt {n}", 0.006),
    ("error", "failed to publish audit event {}", 0.004),
    ("error", "exception while polling feed {}: connection reset by peer", 0.003),
    ("warn", "deprecated header seen in request {}", 0.02),
    ("info", "connection {} closed after being idle", 0.05),
)


def exception_text(runtime: str, service: int, action: str) -> str:
    """A stack trace in the manner of the runtime; frames differ by service and operation."""
    kind = EXCEPTIONS[runtime][service % 2]
    lines = 20 + (7 * service + len(action)) % 200
    if runtime == "python":
        frame = f'  File "/app/{action}.py", line {lines}, in {action}'
        return f"Traceback (most recent call last):\n{frame}\n{kind}: unexpected value"
    if runtime == "go":
        return f"panic: {kind}\ngoroutine 1 [running]:\nmain.{action}(...)\n\t/app/{action}.go:{lines}"
    if runtime == "node":
        frame = f"    at {action} (/app/src/{action}.js:{lines}:13)"
        return f"{kind}: unexpected value\n{frame}\n    at run (/app/main.js:7:1)"
    name = action.title()
    frame = f"\tat app.{name}Handler.{action}({name}Handler.java:{lines})"
    return f"{kind}: unexpected state\n{frame}\n\tat app.Dispatcher.run(Dispatcher.java:88)"
