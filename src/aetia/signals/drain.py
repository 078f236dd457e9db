"""Log templates: groups log bodies by their constant text, after Drain (He et al., ICWS 2017), over Arrow.

Bodies are first reduced to shapes (`log_shapes`); what follows here runs on the distinct shapes only: values are
masked as `<*>`, and shapes of equal length are grouped when enough of their tokens agree. Unlike Drain the input is
taken as a whole, most frequent first, so the order of rows does not matter. A printed call site, an exception
type, a bracketed tag and a call such as `name()` belong to a template's identity and are never merged away.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute
from numpy.typing import NDArray

from aetia.signals.frames import I8, I32, I64, Template
from aetia.signals.ids import hash_ids
from aetia.signals.log_shapes import MAX_KEY_BYTES, MESSAGE, SITE_DIGIT, BinaryColumn, Column, messages, shapes

pc: Any = _compute  # the stubs know kernels only in part
WILDCARD = "<*>"
_MAX_TOKENS = 96
_SIMILARITY = 0.6
_SITE_SIMILARITY = 0.5

_KEPT = f"{chr(SITE_DIGIT)}-{chr(SITE_DIGIT + 9)}"
_SITE = re.compile(rf"([\w${_KEPT}]+(?:\.[a-z]+)?[#:][{_KEPT}]+)")
_SITE_DIGITS = {SITE_DIGIT + d: str(d) for d in range(10)}
_KEPT_DIGITS = {ord(str(d)): SITE_DIGIT + d for d in range(10)}
_SITE_TO_ZERO = {SITE_DIGIT + d: "0" for d in range(10)}
_EXCEPTION = re.compile(
    r"(?<![\w.])(?:[A-Za-z_][\w$]*\.)*[A-Z][\w$]*(?:Exception|Error|Throwable|Interrupt|Fault|Exit)(?:\$\w+)?\b(?=:|\s|$|[,;)\]\"'])"
)
_PLAIN_ERROR = re.compile(r"(?:[A-Z]\w*\.)*(?:Error|Exception|Fault|Exit|Throwable)")
_JSON_MESSAGE = re.compile(MESSAGE)
_JSON_VALUE = re.compile(r'("(?:[^"\\]|\\.)*"\s*:\s*)("(?:[^"\\]|\\.)*"?|[^\s,{}\[\]"]+)')


class _Rule(NamedTuple):
    pattern: re.Pattern[str]
    replacement: str


_HOST = r"(?:[A-Za-z0][\w-]*\.){2,}[A-Za-z][\w-]*"
_PATH = r"[\w.@%~+*$-]"
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_RULES = tuple(
    _Rule(re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"[a-z][a-z0+.-]*://[^\s\"'<>,;)\]}]+", WILDCARD),
        (r"\b[A-Za-z]:\\[^\s\"',;]+", WILDCARD),
        (rf"(?<![\w.>)\]])/?(?:{_PATH}+/){{2,}}{_PATH}*=?|(?<![\w.<>)\]/])/{_PATH}+(?:/{_PATH}*=?)*", WILDCARD),
        (r"\b[\w.+-]+@[\w-]+\.[\w.-]+\b", WILDCARD),
        (rf"\b{_HOST}:0+\b", WILDCARD),
        # Plain words after `=` stay: whether they are values shows when lines are compared (`_refine`).
        (r"(?<=[\w\])])=(\"[^\"]*\"|'[^']*'|(?![A-Za-z]+(?:[\s,;)\]}]|$))[^\s,;&\"'(){}\[\]<>|]+)", "=" + WILDCARD),
        (r"\b0[xX][0a-fA-F]+\b", WILDCARD),
        (r"(?<![\w<])[0a-fA-F]*0[0a-fA-F]*(?:[:.-][0a-fA-F]*0[0a-fA-F]*)+(?!\w)", WILDCARD),
        (r"(?<![A-Za-z])(?=[a-fA-F]*0)[0a-fA-F]{6,}(?![A-Za-z])", WILDCARD),
        (r"(?<![\w<>])[-+]0", "0"),
        (r"0+(?:[.,:/_-]0+)*", WILDCARD),
        (r"<\*>(?:[.:,/_-]?<\*>)+", WILDCARD),
        (rf"\b(?:{_DAY}[a-z]*,? )?{_MONTH}[a-z]{{0,6}},? +(?=<\*>)", WILDCARD + " "),
        (r"(<\*> ?)[KMGT]i?B\b", r"\1B"),
        # "1292 bytes (1.26 KB)" says one thing twice; "<1 sec" is an amount like "00:19".
        (r" \(<\*> ?[KMGT]?i?[Bb](?:ytes)?\)", ""),
        (r"<<\*> ?(?:sec|s|ms|min)\b", WILDCARD),
    )
)  # fmt: skip
_TOKEN = re.compile(r"\[[A-Za-z][\w .!-]*\]|\[|\]|[^\s\[\]]+")
_WORD = re.compile(r"[\[({\"'<]*(?:[\w.-]+[=:])?[A-Za-z][A-Za-z_'-]*(?:<\*>)?[\])}>\"'.,:;!?*]*")
_FEW_WORDS = 3
_MAX_SHAPES = 8000
_ROUNDS = 4
_MAX_PATTERNS = 48
_TAG = re.compile(r"\[[A-Za-z][\w .!-]*\]|[A-Za-z_][\w.$]*\(\)[,:;.]?")


class _Line(NamedTuple):
    """One masked shape: its tokens and what must agree for two lines to share a template."""

    tokens: tuple[str, ...]
    exception: str | None
    call_site: str | None


@dataclass(slots=True)
class _Group:
    tokens: list[str]
    exception: str | None
    call_site: str | None
    lines: list[tuple[str, ...]] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)


def mine(bodies: Column, severity: I8 | None = None) -> tuple[I32, tuple[Template, ...]]:
    """Template code per body, shape (n,), and the templates, sorted.

    `severity` (n,) are the severity codes of the lines; a template carries the worst of its lines. Null bodies
    have the empty template. Bodies beyond 512 bytes are told apart by their first 512 bytes only. With more than
    _MAX_SHAPES shapes (free text, ids made of letters) templates are learnt from the most frequent shapes and a
    sample of the others, which are then matched; what matches none after four rounds is told apart by its first
    two words.
    """
    codes, distinct = shapes(bodies)
    if len(codes) == 0:
        return codes, ()
    if len(distinct) > _MAX_SHAPES:
        codes, distinct = messages(codes, distinct)
    count = np.bincount(codes, minlength=len(distinct))
    group_of, groups = _learn(distinct, count)
    ranked, templates = _sorted_templates(groups)
    final = ranked[group_of][codes]
    if severity is not None and len(severity):
        worst = np.zeros(len(templates), np.int64)
        for level in range(int(severity.max()) + 1):
            worst[np.bincount(final[severity == level], minlength=len(templates)) > 0] = level
        templates = [item._replace(severity=int(level)) for item, level in zip(templates, worst, strict=True)]
    return final, tuple(templates)


def _learn(distinct: BinaryColumn, count: I64) -> tuple[I32, list[_Group]]:
    """Group per distinct shape, and the groups."""
    if len(distinct) <= _MAX_SHAPES:
        return _cluster([_mask(text) for text in _texts(distinct)], count)
    group_of = np.full(len(distinct), -1, np.int32)
    groups: list[_Group] = []
    # The same bytes seen as text: hashing needs no valid UTF-8, and a cut may have split a character.
    as_text = pa.Array.from_buffers(pa.string(), len(distinct), distinct.buffers(), 0, distinct.offset)
    left = np.lexsort((hash_ids(pa.chunked_array([as_text]))[0], -count))
    for _ in range(_ROUNDS):
        chosen = left[:_MAX_SHAPES]
        part, found = _cluster([_mask(text) for text in _texts(_at(distinct, chosen))], count[chosen])
        group_of[chosen] = part + len(groups)
        left = left[_MAX_SHAPES:]
        weight = np.bincount(part, count[chosen], len(found))
        for index in np.argsort(-weight, kind="stable")[:_MAX_PATTERNS].tolist():
            if len(left) == 0:
                break
            hit = pc.match_substring_regex(_at(distinct, left), _pattern(found[index])).to_numpy(zero_copy_only=False)
            group_of[left[hit]] = index + len(groups)
            left = left[~hit]
        groups += found
        if len(left) == 0:
            return group_of, groups
    heads = pc.extract_regex(_at(distinct, left), r"^\s*(?P<head>\S{0,32}\s*\S{0,32})").field("head")
    lines = [_mask(text + " " + WILDCARD) for text in _texts(heads)]
    part, found = _cluster(lines, count[left])
    group_of[left] = part + len(groups)
    return group_of, groups + found


def _at(column: BinaryColumn, rows: I64) -> BinaryColumn:
    return pc.take(column, pa.array(rows, pa.int64()))


def _texts(shapes_: BinaryColumn) -> list[str]:
    return [(text or b"").decode("utf-8", "replace") for text in shapes_.to_pylist()]


def _pattern(group: _Group) -> str:
    """A regular expression (RE2) for the shapes of a group."""
    site, kept = group.call_site or "\x00", (group.call_site or "").translate(_KEPT_DIGITS)
    parts: list[str] = []
    for token in group.tokens:
        text = re.escape(token.replace(site, kept)).replace(re.escape(WILDCARD), r"\S+")
        parts.append(text.replace(r"=\S+", r"""=(?:"[^"]*"|'[^']*'|\S*)"""))
    return r"^\s*" + r"\s*".join(parts) + r"\s*$"


def describe(text: str, severity: int = 0) -> Template:
    """A ready-made template as a Template: its exception type and call site are read from the text."""
    sites = re.sub(
        r"(?<=[A-Za-z_]#)\d{1,6}\b|(?<=\.py:)\d{1,6}\b|(?<=\.go:)\d{1,6}\b|(?<=\.js:)\d{1,6}\b|(?<=\.java:)\d{1,6}\b",
        lambda found: "".join(chr(SITE_DIGIT + int(d)) for d in found.group()), text[:MAX_KEY_BYTES],
    )  # fmt: skip
    line = _mask(sites)
    return Template(text, severity, line.exception, line.call_site)


def _mask(shape: str) -> _Line:
    """A shape with its values masked, as tokens."""
    site, text = _call_site(shape)
    if text.lstrip()[:1] == "{":
        text = _json_text(text)
    exception = _exception(text)
    for rule in _RULES:
        text = rule.pattern.sub(rule.replacement, text)
    tokens = tuple(_TOKEN.findall(text))
    if len(tokens) > _MAX_TOKENS:
        tokens = (*tokens[:_MAX_TOKENS], WILDCARD)
    if site is not None:
        tokens = tuple(token.replace("\x00", site) for token in tokens)
    return _Line(tokens, exception, site)


def _call_site(shape: str) -> tuple[str | None, str]:
    """The first call site of a shape, and the text with NUL in its place (other line numbers become 0)."""
    for found in _SITE.finditer(shape):
        name = found.group(1)
        if ":" in name or any(c.isupper() for c in name):
            site = name.translate(_SITE_DIGITS)
            text = shape[: found.start(1)] + "\x00" + shape[found.end(1) :]
            return site, text.translate(_SITE_TO_ZERO)
    return None, shape.translate(_SITE_TO_ZERO)


def _exception(text: str) -> str | None:
    for found in _EXCEPTION.finditer(text):
        if not _PLAIN_ERROR.fullmatch(found.group()):
            return found.group().replace("0", "")
    return None


def _json_text(text: str) -> str:
    """The message of a JSON body; a body without one keeps its keys."""
    message = _JSON_MESSAGE.search(text)
    if message is not None and message["message"].strip():
        return message["message"].replace('\\"', '"').replace("\\n", " ")
    return _JSON_VALUE.sub(rf"\1{WILDCARD}", text)


def _cluster(lines: list[_Line], count: NDArray[np.int64]) -> tuple[I32, list[_Group]]:
    """Group index per line, and the groups."""
    member: dict[_Line, list[int]] = defaultdict(list)
    for index, line in enumerate(lines):
        member[line].append(index)
    weight = {line: int(count[rows].sum()) for line, rows in member.items()}
    ranked = sorted(member, key=lambda line: (-weight[line], line.tokens, line.exception or "", line.call_site or ""))
    leaves: dict[tuple[object, ...], _Leaf] = {}
    for line in ranked:
        key = _leaf_key(line)
        if key not in leaves:
            leaves[key] = _Leaf(len(line.tokens))
        leaves[key].add(line, member[line])
    groups = [part for leaf in leaves.values() for group in leaf.groups for part in _refine(group)]
    groups = _join_sites(groups)
    group_of = np.zeros(len(lines), np.int32)
    for index, group in enumerate(groups):
        for rows in group.rows:
            group_of[rows] = index
    return group_of, groups


def _leaf_key(line: _Line) -> tuple[object, ...]:
    """What two lines must share before their tokens are compared."""
    tags = tuple(token for token in line.tokens if _TAG.fullmatch(token))
    head = () if line.call_site else tuple("" if WILDCARD in token else token for token in line.tokens[:1])
    return (len(line.tokens), line.call_site, line.exception, tags, head)


class _Leaf:
    """Groups of lines of one length; tokens are compared as numbers, all groups of the leaf at once."""

    def __init__(self, length: int) -> None:
        self.groups: list[_Group] = []
        self._code_of: dict[str, int] = {WILDCARD: 0}
        self._says = np.zeros(64, np.bool_)
        self._tokens = np.zeros((8, length), np.int32)

    def add(self, line: _Line, rows: list[int]) -> None:
        codes = np.array([self._code(token) for token in line.tokens], np.int32)
        best = self._closest(codes)
        if best < 0:
            best = len(self.groups)
            if best == len(self._tokens):
                self._tokens = np.concatenate([self._tokens, np.zeros_like(self._tokens)])
            self._tokens[best] = codes
            self.groups.append(_Group(list(line.tokens), line.exception, line.call_site))
        else:
            self._tokens[best, self._tokens[best] != codes] = 0
        self.groups[best].lines.append(line.tokens)
        self.groups[best].rows.append(rows)

    def _code(self, token: str) -> int:
        code = self._code_of.setdefault(token, len(self._code_of))
        if code == len(self._says):
            self._says = np.concatenate([self._says, np.zeros_like(self._says)])
        self._says[code] = code > 0 and any(sign.isalpha() for sign in token)
        return code

    def _closest(self, codes: NDArray[np.int32]) -> int:
        """The most similar group, -1 when none is similar enough; only tokens with letters count."""
        if not self.groups:
            return -1
        known = self._tokens[: len(self.groups)]
        counted = self._says[known] | self._says[codes]
        same = ((known == codes) & counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
        same[~counted.any(axis=1)] = 1.0
        best = int(same.argmax())
        return best if same[best] >= _SIMILARITY else -1


def _refine(group: _Group) -> list[_Group]:
    """Splits a group where a place holds only a few different plain words: those are constants (`begin` and
    `end`, `GET` and `POST`), not values. The narrowest place first, until none is left."""
    todo, done = [group], []
    while todo:
        part = todo.pop()
        place = _narrowest(part.lines)
        if place < 0:
            part.tokens = [_common_token([line[k] for line in part.lines]) for k in range(len(part.tokens))]
            done.append(part)
            continue
        pieces: dict[str, _Group] = {}
        for line, rows in zip(part.lines, part.rows, strict=True):
            piece = pieces.setdefault(line[place], _Group(list(line), part.exception, part.call_site))
            piece.lines.append(line)
            piece.rows.append(rows)
        todo.extend(pieces.values())
    return done


def _narrowest(lines: list[tuple[str, ...]]) -> int:
    """The place with the fewest, but several, plain words; -1 when there is none with at most _FEW_WORDS."""
    best, fewest = -1, _FEW_WORDS + 1
    if len(lines) < 2:
        return -1
    for place, column in enumerate(zip(*lines, strict=True)):
        words = set(column)
        if 1 < len(words) < fewest and all(_WORD.fullmatch(word) for word in words):
            best, fewest = place, len(words)
    return best


def _common_token(tokens: list[str]) -> str:
    """One token for several: itself, `key=<*>` where the keys agree, else the wildcard."""
    first = tokens[0]
    if all(token == first for token in tokens):
        return first
    for sign in "=:":
        key = first.partition(sign)[0] + sign
        if sign in first and all(token.startswith(key) for token in tokens):
            return key + WILDCARD
    return WILDCARD


def _join_sites(groups: list[_Group]) -> list[_Group]:
    """Joins groups of one call site whose constant texts agree though their lengths differ (printed lists)."""
    out: list[_Group] = []
    by_site: dict[tuple[str, str | None], list[_Group]] = defaultdict(list)
    for group in groups:
        if group.call_site is None:
            out.append(group)
            continue
        mates = by_site[group.call_site, group.exception]
        for mate in mates:
            common = _common(mate.tokens, group.tokens)
            constant = [token for token in common if token != WILDCARD]
            shorter = min(len([t for t in side if t != WILDCARD]) for side in (mate.tokens, group.tokens))
            if len(constant) >= max(1, _SITE_SIMILARITY * shorter):
                mate.tokens = common
                mate.rows.extend(group.rows)
                break
        else:
            mates.append(group)
            out.append(group)
    return out


def _common(left: list[str], right: list[str]) -> list[str]:
    """Longest common subsequence of two token lists, with one wildcard in each gap."""
    if left == right:
        return left
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in range(len(left) - 1, -1, -1):
        for j in range(len(right) - 1, -1, -1):
            table[i][j] = table[i + 1][j + 1] + 1 if left[i] == right[j] else max(table[i + 1][j], table[i][j + 1])
    out: list[str] = []
    i = j = 0
    while i < len(left) and j < len(right):
        if left[i] == right[j]:
            out.append(left[i])
            i, j = i + 1, j + 1
            continue
        if not out or out[-1] != WILDCARD:
            out.append(WILDCARD)
        if table[i + 1][j] >= table[i][j + 1]:
            i += 1
        else:
            j += 1
    if (i < len(left) or j < len(right)) and (not out or out[-1] != WILDCARD):
        out.append(WILDCARD)
    return out


def _sorted_templates(groups: list[_Group]) -> tuple[I32, list[Template]]:
    """Place of each group among the sorted distinct templates, and those."""
    made = [Template(" ".join(group.tokens), 0, group.exception, group.call_site) for group in groups]
    keys = sorted({(item.text, item.exception or "", item.call_site or "") for item in made})
    place = {key: index for index, key in enumerate(keys)}
    ranked = np.array([place[item.text, item.exception or "", item.call_site or ""] for item in made], np.int32)
    return ranked, [Template(text, 0, exception or None, site or None) for text, exception, site in keys]
