"""Numbers as people read them: shares in per cent, times as lengths of time, sizes with a prefix."""

from __future__ import annotations

import math

_TIMES = {"ms": 1e6, "ns": 1.0, "s": 1e9, "us": 1e3, "µs": 1e3}


def number(value: float | None) -> str:
    """Three significant digits, no exponent where people can do without: 0.0123, 4.57, 12 300."""
    if value is None or not math.isfinite(value):
        return "–"
    value = value or 0.0  # Minus nought reads as nought.
    size = abs(value)
    if size >= 1e7 or (0 < size < 1e-4):
        return f"{value:.2e}"
    if size >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def duration_ns(value: float) -> str:
    """A length of time: 850 ns, 12.3 ms, 4.2 s, 3 min 20 s, 2 h 5 min."""
    seconds = abs(value) / 1e9
    if seconds < 1e-6:
        return f"{value:.0f} ns"
    if seconds < 1e-3:
        return f"{value / 1e3:.3g} µs"
    if seconds < 1:
        return f"{value / 1e6:.3g} ms"
    if seconds < 60:
        return f"{value / 1e9:.3g} s"
    whole = round(seconds)
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(whole, 3600)
    return f"{hours} h {rest // 60} min" if rest >= 60 else f"{hours} h"


def quantity(value: float | None, unit: str) -> str:
    """A number with its unit; shares become per cent, times a length of time, bytes get a prefix."""
    if value is None or not math.isfinite(value):
        return "–"
    if "share" in unit.split() or unit == "fraction":
        return percent(value)
    if value == 0 and unit in _TIMES:
        return f"0 {unit}"
    if unit in _TIMES:
        return duration_ns(value * _TIMES[unit])
    if unit in ("bytes", "By", "byte"):
        return _bytes(value)
    if unit == "1/s":
        return f"{number(value)}/s" if abs(value) >= 1 or value == 0 else f"{number(60 * value)} a minute"
    if unit.endswith("/s") and unit[:-2] in ("bytes", "By", "byte", "ms"):
        return f"{quantity(value, unit[:-2])}/s"
    if unit in ("ratio", "x", "×"):
        return f"{number(value)} ×"
    if unit in ("1", "", "count"):
        return number(value)
    one = value == 1 and unit in ("alerts", "changes", "instances", "lines", "services", "templates")
    return f"{number(value)} {unit[:-1] if one else unit}".rstrip()


def _bytes(value: float) -> str:
    size, prefixes = abs(value), ("B", "KiB", "MiB", "GiB", "TiB")
    step = min(int(math.log(size, 1024)), len(prefixes) - 1) if size >= 1 else 0
    return f"{value / 1024**step:.3g} {prefixes[step]}"


def percent(share: float | None) -> str:
    """A share as per cent; never rounded up to a false 100 % or down to a false 0 %."""
    if share is None or not math.isfinite(share):
        return "–"
    if 0.9995 <= share < 1.0:
        return "> 99.9 %"
    if 0.0 < share < 0.0005:
        return "< 0.1 %"
    value = 100 * share
    return f"{value:.0f} %" if value == round(value) or 10 <= value <= 90 else f"{value:.1f} %"


def went(before: float, after: float, unit: str) -> str:
    """`went from 12 ms to 340 ms`."""
    return f"went from {quantity(before, unit)} to {quantity(after, unit)}"
