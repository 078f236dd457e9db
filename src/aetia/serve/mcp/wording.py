"""Words that the summaries share."""

from __future__ import annotations

from collections.abc import Sequence

from aetia.reason.toolbox import said


def counted(number: int, what: str) -> str:
    """`1 service`, `1,204 services`."""
    plural = what if number == 1 or what == "series" else what[:-1] + "ies" if what.endswith("ry") else f"{what}s"
    return f"{number:,} {plural}"


def many(number: int, what: str, *, more: bool) -> str:
    """The same where only the first so many are known."""
    return f"the first {counted(number, what)} of more" if more else counted(number, what)


def share(value: float | None) -> str:
    """`0.1234` → `12%`."""
    return "?" if value is None else f"{value:.2%}" if 0 < value < 0.01 else f"{value:.0%}"


def ms(value: float | None) -> str:
    """Milliseconds with three digits, seconds from one on."""
    if value is None:
        return "?"
    return f"{value / 1000:.3g} s" if abs(value) >= 1000 else f"{value:.3g} ms"


def name(text: str | None) -> str:
    """A recorded name within a sentence: one short line in quotes."""
    return f"'{said(text or '(none)', 80)}'"


def listed(texts: Sequence[str], most: int = 5) -> str:
    rest = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {rest} more" if rest > 0 else "")


def sentence(*parts: str) -> str:
    """Parts as sentences: each begins with a capital and ends with a full stop."""
    made = (part.strip() for part in parts if part.strip())
    return " ".join(f"{part[0].upper()}{part[1:].rstrip('.')}." for part in made)
