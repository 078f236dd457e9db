"""Secrets out of telemetry before it is written: a table of named patterns for keys and for values.

The value of an attribute whose key names a secret becomes `[redacted]` as a whole; in other texts only the secret
itself does. Patterns can be switched off by name, and own ones added. Telemetry is mostly free of secrets, so numpy
looks for what every match contains (a few bytes, a run of digits) in many texts at once before a regular expression
looks at one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from aetia.ingest.wire import Bytes, Offsets
from aetia.model.errors import UsageError

REDACTED = "[redacted]"
_CACHED_KEYS = 8192
_LONGEST_HEAD = 16 * 1024
_CLEAN_BYTES, _OBJECT_BYTES = 16 << 20, 100
_SEPARATED = r"(?:^|[^a-z0-9])"
Finder: TypeAlias = Callable[[Bytes], Offsets]
"""Where in some bytes, given in lower case, a match may be."""


def lowered(text: Bytes) -> Bytes:
    """Lower case by setting a bit, which changes a few other signs too."""
    return text | np.uint8(0x20)


def any_of(*literals: str) -> Finder:
    """Finds texts of three characters or more, in any case; a `?` stands for any sign."""
    wanted: list[list[tuple[int, np.uint8]]] = []
    for literal in literals:
        wanted.append([(place, sign) for place, sign in enumerate(_bytes(literal)) if literal[place] != "?"])

    def find(lower: Bytes) -> Offsets:
        found: list[Offsets] = []
        for signs in wanted:
            size = len(lower) - signs[-1][0]
            if size <= 0:
                continue
            (first, one), (second, two), *rest = signs
            here = ((lower[first : first + size] == one) & (lower[second : second + size] == two)).nonzero()[0]
            for place, sign in rest:
                if len(here):
                    here = here[lower[here + place] == sign]
            found.append(here)
        return np.concatenate(found) if found else np.empty(0, np.int64)

    return find


def sign(one: str, *before: str, skipping: str = "") -> Finder:
    """Finds a sign, where `before` is given only after one of these texts (a `?` stands for any sign), perhaps with up
    to three of the signs in `skipping` between them. One pass, where `any_of` takes two for each text."""
    wanted = _bytes(one)[0]
    texts = [
        [(place - len(text), sign) for place, sign in enumerate(_bytes(text)) if text[place] != "?"][::-1]
        for text in before
    ]
    skipped = np.isin(np.arange(256), _bytes(skipping))

    def find(lower: Bytes) -> Offsets:
        here = (lower == wanted).nonzero()[0]
        if not len(here) or not texts:
            return here
        at = here
        for _ in range(3 if skipping else 0):
            at = at - skipped[lower[at - 1]]
        found: list[Offsets] = []
        for signs in texts:
            left, ends = here, at
            for place, sign in signs:
                same = lower[ends + place] == sign
                left, ends = left[same], ends[same]
                if not len(left):
                    break
            found.append(left)
        return np.concatenate(found)

    return find


def either(*finders: Finder) -> Finder:
    """Finds what one of some finds."""
    return lambda lower: np.concatenate([find(lower) for find in finders])


def _bytes(text: str) -> Bytes:
    return lowered(np.frombuffer(text.encode(), np.uint8))


def card_digits(lower: Bytes) -> Offsets:
    """Finds four digits of which the first is 2 to 6, then four more, then four more or the last but three of six, each
    perhaps after a gap."""
    digit = (lower - ord("0")) < 10
    two = digit[:-1] & digit[1:]
    four = two[:-2] & two[2:]
    size = len(four) - 12
    if size <= 0:
        return np.empty(0, np.int64)
    here = four[:size].nonzero()[0]
    here = here[lower[here] - ord("2") < 5]
    together = here[four[here + 4]]
    together = together[four[together + 8]]
    after = lower[here + 4]
    apart = here[((after == ord(" ")) | (after == ord("-"))) & four[here + 5]]
    if len(apart):
        after = lower[apart + 9]
        apart = apart[four[apart + 7] | (((after == ord(" ")) | (after == ord("-"))) & four[apart + 10])]
    return np.concatenate((together, apart))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One kind of secret.

    `regex` (Python's) finds it in a key in lower case, or in a text, where the group `secret` or else the whole match
    is replaced; `check` may refuse a match. `find` finds a place within each match; without it each text of at least
    `least` bytes is searched, which is slow. No match in a text is shorter than `least` bytes.
    """

    name: str
    where: Literal["key", "value"]
    regex: str
    find: Finder | None = None
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
        name="authorization_header", where="value", least=14, find=sign(" ", "arer", "asic"),
        regex=r"(?i)\b(?:bearer|basic) +(?P<secret>(?=\S*(?-i:[a-z][A-Z]|[0-9]|=))[a-z0-9._~+/=-]{8,})",
    ),
    Pattern(
        name="jwt", where="value", least=14, find=any_of("eyj"),
        regex=r"eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?",
    ),
    Pattern(
        name="aws_access_key", where="value", least=20, find=any_of("a?ia"),
        regex=r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    ),
    Pattern(
        name="private_key_block", where="value", least=24, find=sign(" ", "-begin"),
        regex=r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)",
    ),
    Pattern(
        name="vendor_token", where="value", least=15,
        find=either(sign("_", "gh?", "b_pat", "k_live"), sign("-", "xox?", "glpat", "sk"), any_of("aiza")),
        regex=r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{22,}|xox[abeoprs]-[A-Za-z0-9-]{10,}|glpat-[\w-]{20,}"
        r"|AIza[\w-]{35}|sk-[\w-]{20,}|[sr]k_live_\w{16,})",
    ),
    Pattern(
        name="url_credentials", where="value", least=12, find=sign("@"),
        regex=r"://[^/\s:@'\"]*:(?P<secret>[^/\s@'\"]+)@",
    ),
    Pattern(
        name="card_number", where="value", least=13, check=luhn, find=card_digits,
        regex=r"(?<![\w.-])(?:[2-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}|3[47]\d{2}[ -]?\d{6}[ -]?\d{5})(?![\w.-])",
    ),
    Pattern(
        name="assignment", where="value", least=12,
        find=either(*(sign(one, "rd", "wd", "se", "et", "ey", "en", skipping="\"' \t") for one in "=:")),
        regex=r"(?i)(?<![a-z])(?:password|passwd|passphrase|pwd|(?:client[_-]?)?secret|api[_-]?key|private[_-]?key"
        r"|(?:access|refresh|auth|id|bearer|session)[_-]?token|token)[\"']?[ \t]{0,2}[=:]\s*[\"']?"
        r"(?P<secret>(?!\[redacted)[^\s\"'&,;{}\[\]()]{6,})",
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
        keys = "|".join(f"(?:{one.regex})" for one in some if one.where == "key")
        self._keys = _compiled(keys) if keys else None
        self._values = [(one, _compiled(one.regex)) for one in some if one.where == "value"]
        self._cached: dict[str, bool] = {}
        self.clean: set[bytes] = set()
        """Serialised resources, scopes and labels of points that were looked at and hold no secret."""
        self._clean_bytes = 0
        self.least_bytes = min((one.least for one, _ in self._values), default=1 << 62)
        """No shorter text holds a secret."""
        self.names_keys = self._keys is not None
        self.own_keys = any(one.where == "key" for one in own)

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
            if len(text) >= pattern.least:
                text = regex.sub(lambda match, check=pattern.check: _replaced(match, check), text)
        return text

    def places(self, lower: Bytes) -> list[tuple[Callable[[str], bool], Offsets | None]]:
        """For each pattern of values what tells whether a text holds such a secret, and where in some bytes (lower
        case) one may be; None: anywhere."""
        return [
            (lambda text, one=one, regex=regex: _holds(text, one, regex), one.find(lower) if one.find else None)
            for one, regex in self._values
        ]

    def remember_clean(self, head: bytes) -> None:
        if len(head) <= _LONGEST_HEAD:
            if self._clean_bytes >= _CLEAN_BYTES:
                self.clean, self._clean_bytes = set(), 0
            self.clean.add(head)
            self._clean_bytes += len(head) + _OBJECT_BYTES

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


LOOSE_KEYS = any_of("pass", "pwd", "secret", "token", "key", "authoriz", "credential", "cookie", "sess", "connect.sid")
"""Finds what every secret's key contains, unless a pattern is an own one."""


def _compiled(regex: str) -> re.Pattern[str]:
    try:
        return re.compile(regex)
    except re.error as error:
        raise UsageError(f"redaction pattern {regex!r} is no regular expression: {error}.") from error


def _holds(text: str, pattern: Pattern, regex: re.Pattern[str]) -> bool:
    if pattern.check is None:
        return regex.search(text) is not None
    return any(pattern.check(match.group(_group(match))) for match in regex.finditer(text))


def _group(match: re.Match[str]) -> int | str:
    return "secret" if "secret" in match.re.groupindex else 0


def _replaced(match: re.Match[str], check: Callable[[str], bool] | None) -> str:
    whole = match.group()
    group = _group(match)
    if check is not None and not check(match.group(group)):
        return whole
    start = match.start()
    return whole[: match.start(group) - start] + REDACTED + whole[match.end(group) - start :]
