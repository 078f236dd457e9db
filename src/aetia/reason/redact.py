"""Text of telemetry on its way to a language model: data, never instruction, and without what must not leave.

`Redactor` removes control characters, takes out secrets (tokens, keys, passwords, e-mail and IP addresses), disarms
the marks by which chat templates tell roles apart, and cuts long text. `Pseudonyms` replaces names by stable
pseudonyms, and back. Neither reads a clock, a file or chance.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, cast

import msgspec

MOST_TEXT = 200
"""Characters of one text."""
SECRET = "<secret>"
_LABELS = (
    r"pass(?:word|wd|phrase)?|pwd|secret(?:[_-]?key)?|(?:access|auth|refresh|id|api|bearer|session)?[_-]?token"
    r"|(?:api|access|private|client|signing|encryption)[_-]?(?:key|secret)|credentials?|authorization"
    r"|session[_-]?id|(?:set-)?cookie"
)
_LABEL = rf"\b((?:\w+[_.-])?(?:{_LABELS}))(\\?[\"']?\s*[:=]\s*)"
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]{0,40}KEY[A-Z -]{0,12}-----.*?(?:-----END [A-Z -]{0,60}-----|$)", re.S), SECRET),
    (re.compile(r"(?<=://)[^\s/@:]+:[^\s/@]*(?=@)"), SECRET),
    (re.compile(r"\b(bearer|basic)\s+(?=\S*[0-9=]|\S{20})[\w.~+/=-]{8,}", re.I), rf"\1 {SECRET}"),
    (re.compile(rf"{_LABEL}(\\?[\"'])(?:(?!\3).)+(?:\3|$)", re.I), rf"\1\2{SECRET}"),
    (re.compile(rf"{_LABEL}[^\s\"',;&}}<]+", re.I), rf"\1\2{SECRET}"),
    (re.compile(r"\beyJ[\w-]{6,}(?:\.[\w-]*){0,4}"), SECRET),
    (re.compile(r"\b(?:sk|pk|rk)[-_](?:[A-Za-z]+[-_])*[\w-]{10,}"), SECRET),
    (re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[a-z]-|hf_|npm_|pypi-|ya29\.|SG\.)[\w.-]{8,}"), SECRET),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{12,}|\bAIza[\w-]{20,}"), SECRET),
    (re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{32,}(?![0-9A-Za-z])"), SECRET),
)
_DENSE = re.compile(r"[A-Za-z0-9+/_=-]{32,}")
_EMAIL = re.compile(r"[\w.%+-]{1,64}@[\w-]+(?:\.[\w-]+)+")
_IPV4 = re.compile(r"(?<![\w.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![\w]|\.[0-9])")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{0,4}|[0-9]{1,3}(?:\.[0-9]{1,3}){3})(?![\w:])")
_ROLE_MARK = re.compile(
    r"<(\|[^<>|]{0,40}\|?|/?(?:s|system|assistant|user|human|tool\w*|function\w*|think\w*|im_\w+)|</?sys>)>"
    r"|\[(/?inst)\]", re.I
)  # fmt: skip
_IDENTIFIER = re.compile(r"E[0-9a-f]{16}|[0-9a-f]{16}|[0-9a-f]{32}")
_SPEAKS = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:previous|above|prior|earlier|all|your)\b.{0,40}"
    r"\b(?:instructions?|prompts?|rules?|context)\b"
    r"|\byou (?:are|must|should|have to|will) (?:now )?(?:an? |the )?"
    r"(?:ai|assistant|language model|agent|blame|call|answer|report|say)\b"
    r"|\b(?:note|message|instructions?) (?:to|for) (?:the )?(?:ai|assistant|model|llm|agent|investigator)\b"
    r"|\bcall (?:the )?(?:tool|function)\b|(?:^|\s)(?:system|assistant|developer) ?: ?\w", re.I
)  # fmt: skip


class Redactor:
    """Cleans what one investigation shows a model.

    Addresses become numbered marks (`<ip-1>`), in the order in which they are met, and `restore` turns the marks of an
    answer back, so that a model can ask about a component that is named by its address.
    """

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}
        self._hidden: dict[str, str] = {}
        self.instructions: list[str] = []
        """Texts that speak to whoever reads them, for a warning: they are shown as the data they are."""

    def text(self, value: object, limit: int = MOST_TEXT) -> str:
        """One line of at most `limit` printable characters without secrets."""
        raw, most = str(value), max(8 * limit, 2000)
        if len(raw) > most:
            raw = raw[:most].rsplit(None, 1)[0]  # half a secret at the end is not recognised
        clean = printable(raw)
        if _SPEAKS.search(clean) and clean[:limit] not in self.instructions:
            self.instructions.append(clean[:limit])
        for pattern, mark in _SECRETS:
            clean = pattern.sub(mark, clean)
        clean = _DENSE.sub(_dense, clean)
        clean = _EMAIL.sub(lambda found: self._mark("email", found.group()), clean)
        clean = _IPV4.sub(self._address, clean)
        clean = _IPV6.sub(self._address, clean)
        clean = _ROLE_MARK.sub(lambda found: f"‹{found.group(1) or found.group(2)}›", clean)
        return clean if len(clean) <= limit else clean[: limit - 1] + "…"

    def data(self, value: Any, limit: int = MOST_TEXT) -> Any:
        """A plain value with all its texts and keys cleaned; an identifier of a trace or of evidence stays."""
        if isinstance(value, str):
            return value if _IDENTIFIER.fullmatch(value) else self.text(value, limit)
        if isinstance(value, dict):
            return {self.text(key, 60): self.data(item, limit) for key, item in cast("dict[str, Any]", value).items()}
        if isinstance(value, list | tuple):
            return [self.data(item, limit) for item in cast("list[Any]", value)]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.text(value, limit)

    def quote(self, value: Any, limit: int = MOST_TEXT) -> str:
        """The JSON text of a plain value, cleaned: nothing in it can end the quotation."""
        return msgspec.json.encode(self.data(value, limit)).decode()

    def restore(self, value: Any) -> Any:
        """A plain value with the marks of addresses turned back."""
        if isinstance(value, str):
            for mark, hidden in self._hidden.items():
                value = value.replace(mark, hidden)
            return value
        if isinstance(value, dict):
            return {key: self.restore(item) for key, item in cast("dict[str, Any]", value).items()}
        if isinstance(value, list):
            return [self.restore(item) for item in cast("list[Any]", value)]
        return value

    def _mark(self, kind: str, hidden: str) -> str:
        if hidden not in self._marks:
            mark = f"<{kind}-{sum(item.startswith('<' + kind) for item in self._hidden) + 1}>"
            self._marks[hidden], self._hidden[mark] = mark, hidden
        return self._marks[hidden]

    def _address(self, found: re.Match[str]) -> str:
        try:
            ipaddress.ip_address(found.group())
        except ValueError:
            return found.group()
        return self._mark("ip", found.group())


class Pseudonyms:
    """Names and their pseudonyms: `x` and ten hexadecimal digits that depend on the name and the key alone.

    Without a key, who knows the names of other systems can guess by trying; `key` makes the pseudonyms of one place
    its own.
    """

    def __init__(self, names: Iterable[str], *, key: bytes = b"") -> None:
        self._to = {name: _pseudonym(name, key) for name in sorted({name for name in names if name})}
        self._back = {pseudonym: name for name, pseudonym in self._to.items()}
        longest = sorted(self._to, key=lambda name: (-len(name), name))
        self._names = re.compile("|".join(_whole(name) for name in longest)) if longest else None
        # A name of signs alone may touch a word, so a pseudonym may too.
        self._pseudonyms = re.compile("|".join(map(re.escape, self._back))) if longest else None

    def hide(self, text: str) -> str:
        """Every name in the text as a whole word becomes its pseudonym."""
        return self._names.sub(lambda found: self._to[found.group()], text) if self._names is not None else text

    def show(self, text: str) -> str:
        """The other way round."""
        return self._pseudonyms.sub(lambda found: self._back[found.group()], text) if self._pseudonyms else text


def printable(text: str) -> str:
    """One line: breaks become spaces, and what cannot be seen goes, as it could split a secret or turn the text."""
    kept = [_visible(char) for char in text] if not text.isprintable() else text
    return " ".join("".join(kept).split())


def _visible(char: str) -> str:
    category = unicodedata.category(char)
    if category in ("Cc", "Zl", "Zp", "Zs"):
        return " "
    return "" if category[0] == "C" else char


def _dense(found: re.Match[str]) -> str:
    """Long runs with capitals, small letters and several digits are keys; names have few digits or one case."""
    run = found.group()
    digits = sum(char.isdigit() for char in run)
    mixed = any(char.isupper() for char in run) and any(char.islower() for char in run)
    return SECRET if digits >= 4 and mixed else run


def _pseudonym(name: str, key: bytes) -> str:
    return "x" + hmac.new(key, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:10]


def _whole(name: str) -> str:
    before = r"(?<!\w)" if re.match(r"\w", name) else ""
    after = r"(?!\w)" if re.match(r"\w", name[-1]) else ""
    return f"{before}{re.escape(name)}{after}"
