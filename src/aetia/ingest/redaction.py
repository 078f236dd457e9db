"""Secrets out of telemetry before it is written: a table of named patterns for keys and for values.

The value of an attribute whose key names a secret becomes `[redacted]` as a whole; in other texts only the secret
itself does. Patterns can be switched off by name, and own ones added. Telemetry is mostly free of secrets, so a cheap
probe (RE2, over many values at once) precedes the exact expressions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from aetia.ingest.values import pc
from aetia.model.errors import UsageError

REDACTED = "[redacted]"
_CACHED_KEYS = 8192
_LONGEST_HEAD = 16 * 1024
_SEPARATED = r"(?:^|[^a-z0-9])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One kind of secret.

    `regex` (Python) finds it in a key, or in a text, where the group `secret` or else the whole match is replaced.
    `probe` (RE2) must match whatever `regex` matches, and may match more. Texts are probed joined, with some bytes between
    them, so it must not look at what surrounds a match. Without it each text of at least `least` bytes is looked at.
    """

    name: str
    where: Literal["key", "value"]
    regex: str
    probe: str = ""
    least: int = 1
    check: Callable[[str], bool] | None = None


def luhn(text: str) -> bool:
    """Whether 13 to 19 digits carry the check digit of a card number (ISO/IEC 7812-1)."""
    digits = [int(sign) for sign in reversed(text) if sign.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    return sum(digits[0::2] + [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]) % 10 == 0


PATTERNS: tuple[Pattern, ...] = (
    Pattern(name="password", where="key", regex=rf"passw(?:or)?d|passphrase|{_SEPARATED}(?:pwd|pass)(?:$|[^a-z0-9])"),
    Pattern(name="secret", where="key", regex=r"secret(?!ary)"),
    Pattern(name="token", where="key", regex=r"token(?!s|iz)"),
    Pattern(name="api_key", where="key", regex=r"(?:api|access|account|auth|encryption)[^a-z0-9]?key"),
    Pattern(name="authorization", where="key", regex=rf"authorization$|{_SEPARATED}credentials?$"),
    Pattern(name="cookie", where="key", regex=rf"{_SEPARATED}(?:set[^a-z0-9])?cookies?$"),
    Pattern(name="session", where="key", regex=r"session[^a-z0-9]?id$|sessid$|connect\.sid$"),
    Pattern(name="private_key", where="key", regex=r"private[^a-z0-9]?key"),
    Pattern(
        name="authorization_header", where="value", least=14,
        regex=r"(?i)\b(?:bearer|basic)\s+(?P<secret>(?=\S*(?-i:[a-z][A-Z]|[0-9]|=))[a-z0-9._~+/=-]{8,})",
        probe=r"(?i:bearer|basic)\s",
    ),
    Pattern(
        name="jwt", where="value", least=20,
        regex=r"eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?",
        probe="eyJ",
    ),
    Pattern(
        name="aws_access_key", where="value", least=20, regex=r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
        probe="A(?:KIA|SIA)[A-Z0-9]",
    ),
    Pattern(
        name="private_key_block", where="value", least=24,
        regex=r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)",
        probe="-----BEGIN ",
    ),
    Pattern(
        name="vendor_token", where="value", least=15,
        regex=r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{22,}|xox[abeoprs]-[A-Za-z0-9-]{10,}|glpat-[\w-]{20,}"
        r"|AIza[\w-]{35}|sk-[\w-]{20,}|(?:sk|rk)_live_\w{16,})",
        probe=r"gh[pousr]_|github_pat_|xox[abeoprs]-|glpat-|AIza|sk-[\w-]{8}|[sr]k_live_",
    ),
    Pattern(
        name="url_credentials", where="value", least=8, regex=r"://[^/\s:@'\"]*:(?P<secret>[^/\s@'\"]+)@",
        probe=r"://[^/\s:@]*:[^/\s@]*@",
    ),
    Pattern(
        name="card_number", where="value", least=13, check=luhn,
        regex=r"(?<![\w.-])(?:[2-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}|3[47]\d{2}[ -]?\d{6}[ -]?\d{5})(?![\w.-])",
        probe=r"(?:[^0-9]|[\n*][0-9])(?:[2-6]\d{3}[ -]?\d{4}[ -]?\d{4}[ -]?\d|3[47]\d{2}[ -]?\d{6}[ -]?\d)",
    ),
    Pattern(
        name="assignment", where="value", least=8,
        regex=r"(?i)(?<![a-z])(?:password|passwd|passphrase|pwd|(?:client[_-]?)?secret|api[_-]?key|private[_-]?key"
        r"|(?:access|refresh|auth|id|bearer|session)[_-]?token|token)[\"']?\s*[=:]\s*[\"']?"
        r"(?P<secret>(?!\[redacted)[^\s\"'&,;{}\[\]()]{6,})",
        probe=r"(?i:passw(?:or)?d|passphrase|pwd|secret|key|token)[\"']?\s*[=:]",
    ),
)  # fmt: skip
_HARMLESS_KEYS = re.compile(
    r"^gen_ai\.usage\.|^llm\.usage\.|[^a-z0-9](?:arn|name|type|version|count|length|size|limit|ttl|expires?|expiry|kind)$"
)
"""Keys that speak of a secret without holding one (`aws.secretsmanager.secret.arn`, `token_type`)."""


class Redactor:
    """Finds and replaces secrets. Safe to share between threads.

    `off` names patterns of `PATTERNS` that do not apply, `own` are more of them. UsageError for an unknown name, a name
    that is taken, or an expression that cannot be compiled.
    """

    def __init__(self, *, off: Collection[str] = (), own: Sequence[Pattern] = ()) -> None:
        known = [one.name for one in (*PATTERNS, *own)]
        for name in (*(name for name in off if name not in known), *(one for one in known if known.count(one) > 1)):
            raise UsageError(f"redaction pattern {name!r} is unknown or defined twice; known are {', '.join(known)}.")
        some = [one for one in (*PATTERNS, *own) if one.name not in off]
        self._keys = _compiled("|".join(f"(?:{one.regex})" for one in some if one.where == "key"))
        self._values = [(one, _compiled(one.regex)) for one in some if one.where == "value"]
        self._cached: dict[str, bool] = {}
        self.clean_heads: set[bytes] = set()
        """Serialised resources and scopes that were looked at and hold no secret."""
        values = [one for one, _ in self._values]
        self.least_bytes = min((one.least for one in values), default=0)
        """No shorter text is a secret by itself."""
        self.value_probe = "|".join(f"(?:{one.probe or '(?s:.)'})" for one in values)
        """RE2, empty when no pattern for values applies."""
        self.key_probe = "(?i)" + "|".join(_LOOSE_KEYS) if self._keys else ""
        if own and self._keys and any(one.where == "key" for one in own):
            self.key_probe = "(?s:.)"
        _probed(self.value_probe)

    def is_secret(self, key: str) -> bool:
        """Whether the values of a key are secrets."""
        if self._keys is None:
            return False
        found = self._cached.get(key)
        if found is None:
            lower = key.lower()
            found = self._keys.search(lower) is not None and _HARMLESS_KEYS.search(lower) is None
            if len(self._cached) >= _CACHED_KEYS:
                self._cached = {}
            self._cached[key] = found
        return found

    def text(self, text: str) -> str:
        """The text without its secrets."""
        if len(text) < self.least_bytes:
            return text
        for pattern, regex in self._values:
            if regex is not None and len(text) >= pattern.least:
                text = regex.sub(lambda match, check=pattern.check: _replaced(match, check), text)
        return text

    def remember_clean(self, head: bytes) -> None:
        if len(head) <= _LONGEST_HEAD:
            if len(self.clean_heads) >= _CACHED_KEYS:
                self.clean_heads = set()
            self.clean_heads.add(head)

    # ---- protobuf messages; each says whether it changed ---------------------------------------------------

    def pairs(self, pairs: Iterable[Any]) -> bool:
        """KeyValue messages."""
        changed = False
        for pair in pairs:
            if pair.value.WhichOneof("value") is None or pair.value.string_value == REDACTED:
                continue
            if self.is_secret(pair.key):
                pair.value.string_value = REDACTED
                changed = True
            else:
                changed |= self.value(pair.value)
        return changed

    def value(self, value: Any) -> bool:
        """An AnyValue."""
        which = value.WhichOneof("value")
        if which == "string_value":
            return self.field(value, "string_value")
        if which == "kvlist_value":
            return self.pairs(value.kvlist_value.values)
        if which == "array_value":
            return sum(self.value(one) for one in value.array_value.values) > 0
        return False

    def field(self, message: Any, name: str) -> bool:
        """A string field."""
        text = getattr(message, name)
        clean = self.text(text)
        if clean == text:
            return False
        setattr(message, name, clean)
        return True

    def span(self, span: Any) -> bool:
        changed = [self.field(span, "name"), self.field(span.status, "message"), self.pairs(span.attributes)]
        changed += [self.field(event, "name") | self.pairs(event.attributes) for event in span.events]
        changed += [self.pairs(link.attributes) for link in span.links]
        return any(changed)

    def log(self, record: Any) -> bool:
        return any([self.value(record.body), self.pairs(record.attributes)])

    def metric(self, metric: Any) -> bool:
        """The labels of all points."""
        which = metric.WhichOneof("data")
        points = getattr(metric, which).data_points if which else ()
        changed = False
        for point in points:
            changed |= self.pairs(point.attributes)
            for exemplar in getattr(point, "exemplars", ()):
                changed |= self.pairs(exemplar.filtered_attributes)
        return changed


_LOOSE_KEYS = ("pass", "pwd", "secret", "token", "key", "authorization", "credential", "cookie", "sess", "connect.sid")


def _compiled(regex: str) -> re.Pattern[str] | None:
    try:
        return re.compile(regex) if regex else None
    except re.error as error:
        raise UsageError(f"redaction pattern {regex!r} is no regular expression: {error}.") from error


def _probed(probe: str) -> None:
    try:
        if probe:
            pc.match_substring_regex(pa.array([""]), probe)
    except pa.ArrowInvalid as error:
        raise UsageError(f"redaction probe {probe!r} is no RE2 expression: {error}.") from error


def _replaced(match: re.Match[str], check: Callable[[str], bool] | None) -> str:
    whole = match.group()
    group = "secret" if "secret" in match.re.groupindex else 0
    if check is not None and not check(match.group(group)):
        return whole
    start = match.start()
    return whole[: match.start(group) - start] + REDACTED + whole[match.end(group) - start :]
