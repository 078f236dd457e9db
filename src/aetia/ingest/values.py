"""Columns of loosely typed values turned into times, durations, text and the model's closed vocabularies.

Everything works on whole Arrow columns. A value that cannot be understood becomes null; the callers count
the nulls.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute

from aetia.model.tables import SEVERITIES, SPAN_KINDS, TIME

# The stubs of the kernels reject mixes of arrays, chunked arrays and plain scalars that Arrow itself takes.
pc: Any = pyarrow.compute
if TYPE_CHECKING:
    Column: TypeAlias = pa.ChunkedArray[Any]
else:
    Column = pa.ChunkedArray
_arrow: Any = pa
ArrayLike = Any
"""An Arrow array or chunked array, a numpy array, a list, or one scalar that holds for every row."""
TimeUnit = Literal["s", "ms", "us", "ns"]
UNIT_NS: dict[str, int] = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
CATEGORY = pa.dictionary(pa.int32(), pa.string())

# 1e11 s is the year 5138 and 1e11 ms is 1973; real telemetry lies between, likewise for the finer units.
_UNIT_LIMITS: tuple[tuple[float, TimeUnit], ...] = ((1e11, "s"), (1e14, "ms"), (1e17, "us"))
SMALLEST_EPOCH = 1e9
"""Smaller numbers are times since something else: 1e9 s is the year 2001."""
_INT64_MAX = float(2**63 - 1024)
_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_INTEGER = r"^\s*[+-]?(?:\d{1,18}|[1-8]\d{18}|9[01]\d{17})\s*$"
_LEAP = r"(?:(?:19|2[01])(?:0[48]|[2468][048]|[13579][26])|2000)-02-29"
_DAY = (
    r"(?:19|2[01])\d\d-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
    r"|02-(?:0[1-9]|1\d|2[0-8]))"
)
_CLOCK = r"[T ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,9})?)?"
_ISO_LOCAL = rf"^(?:{_DAY}|{_LEAP})(?:{_CLOCK})?$"
_ISO_ZONED = rf"^(?:{_DAY}|{_LEAP}){_CLOCK}(?:Z|[+-](?:0\d|1\d|2[0-3])(?::?[0-5]\d)?)$"
_DURATION_TEXT = r"^(?P<value>[+-]?(?:\d+\.?\d*|\.\d+))\s*(?P<unit>ns|us|µs|μs|ms|s|m|h)$"


def as_column(values: ArrayLike, rows: int | None = None) -> Column:
    """Any array-like as a chunked array; a scalar is repeated `rows` times. ValueError on wrong length."""
    if isinstance(values, pa.ChunkedArray):
        column = values
    elif isinstance(values, pa.Array):
        column = pa.chunked_array([values])
    elif isinstance(values, np.ndarray | list | tuple):
        column = pa.chunked_array([_to_array(values)])
    else:
        column = pa.chunked_array([pa.repeat(pa.scalar(values), rows or 0)])
    if rows is not None and len(column) != rows:
        raise ValueError(f"a column has {len(column)} values where the others have {rows}")
    return column


def chunked(chunks: list[Any], kind: pa.DataType) -> Column:
    """Arrays of one type as one column."""
    return _arrow.chunked_array(chunks, kind)


def nulls(rows: int, kind: pa.DataType) -> Column:
    """A column of nulls."""
    if kind == CATEGORY:
        empty = pa.DictionaryArray.from_arrays(_arrow.nulls(rows, pa.int32()), pa.array([], pa.string()))
        return chunked([empty], kind)
    return chunked([_arrow.nulls(rows, kind)], kind)


def _to_array(values: Any) -> Any:
    try:
        return pa.array(values, from_pandas=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def floats(column: Column) -> Column:
    """Numbers as float64; integers beyond 2^53 lose their last digits."""
    return column.cast(pa.float64(), safe=False)


def is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def decoded(column: Column) -> Column:
    """The column without dictionary encoding."""
    kind = column.type
    return column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column


def text(column: Column) -> Column:
    """Any column as plain valid UTF-8 strings; bytes that are no UTF-8 are replaced, nested values are null."""
    column = decoded(column)
    kind = column.type
    if pa.types.is_nested(kind):
        return nulls(len(column), pa.string())
    if is_text(kind):
        plain = column if pa.types.is_string(kind) else column.cast(pa.string())
        return _valid_utf8(plain)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _valid_utf8(_view_as_text(column.cast(pa.binary())))
    if pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_floating(kind):
        return _float_text(column)
    return column.cast(pa.string())


def _view_as_text(column: Column) -> Column:
    return pa.chunked_array([chunk.view(pa.string()) for chunk in column.chunks], pa.string())


def _valid_utf8(column: Column) -> Column:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        raw = pa.chunked_array([chunk.view(pa.binary()) for chunk in column.chunks], pa.binary())
        fixed = [None if item is None else item.decode("utf-8", "replace") for item in raw.to_pylist()]
        return pa.chunked_array([pa.array(fixed, pa.string())])
    return column


def _float_text(column: Column) -> Column:
    """Floats as text, whole numbers without a point (a code column with gaps often arrives as floats)."""
    whole = pc.equal(column, pc.floor(column))
    small = pc.less(pc.abs(column), 1e15)
    finite = pc.fill_null(pc.and_(whole, small), False)
    integers = pc.if_else(finite, column, pa.scalar(0.0, column.type)).cast(pa.int64()).cast(pa.string())
    other = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.string()), column.cast(pa.string()))
    return pc.if_else(finite, integers, other)


def category(column: Column, transform: Callable[[Column], Column] | None = None) -> Column:
    """The column dictionary-encoded with one dictionary for all chunks; `transform` is applied to the
    distinct values only (it may merge values or return null for some)."""
    if not pa.types.is_dictionary(column.type):
        column = text(column).dictionary_encode()
    unified: Any = column.unify_dictionaries()
    if unified.num_chunks == 0:
        return chunked([], CATEGORY)
    values = text(pa.chunked_array([unified.chunk(0).dictionary]))
    if transform is not None:
        values = transform(values)
    recoded: Any = values.combine_chunks().dictionary_encode()
    chunks: list[Any] = []
    for chunk in unified.chunks:
        indices = recoded.indices.take(chunk.indices.cast(pa.int64()))
        chunks.append(pa.DictionaryArray.from_arrays(indices.cast(pa.int32()), recoded.dictionary))
    return chunked(chunks, CATEGORY)


def trimmed(column: Column) -> Column:
    """Names without surrounding white space, in Unicode NFC, null where nothing is left."""
    clean = pc.utf8_normalize(pc.utf8_trim_whitespace(column), form="NFC")
    return pc.if_else(pc.equal(clean, ""), pa.scalar(None, pa.string()), clean)


def names(column: Column) -> Column:
    """A column of names (service, instance, …): trimmed, NFC, any alphabet, dictionary-encoded."""
    return category(column, trimmed)


def ids(column: Column) -> Column:
    """Trace or span ids as plain strings; empty and all-zero ids (no parent) become null."""
    plain = text(column)
    # Five plain comparisons of 1 M ids take 30 ms, one regular expression 250 ms.
    blank = pc.or_(pc.starts_with(plain, " "), pc.ends_with(plain, " "))
    if pc.any(blank).as_py():
        plain = pc.utf8_trim_whitespace(plain)
    nothing = pc.equal(plain, "")
    for zeros in ("0" * 16, "0" * 32, "0"):
        nothing = pc.or_(nothing, pc.equal(plain, zeros))
    if not pc.any(nothing).as_py():
        return plain
    return pc.if_else(nothing, pa.scalar(None, pa.string()), plain)


# A Deployment's pods are `NAME-HASH-SUFFIX`; Kubernetes draws both from an alphabet without vowels and 0, 1, 3.
POD = r"^(?P<name>.+)-[bcdfghjklmnpqrstvwxz2456789]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$"


def service_of_pod(instance: Column) -> Column:
    """The workload that a Kubernetes pod's name carries, null where the name has another form."""
    return category(instance, lambda values: pc.struct_field(pc.extract_regex(values, pattern=POD), "name"))


# ---- times ------------------------------------------------------------------------------------------------


def guess_time_unit(values: ArrayLike) -> TimeUnit:
    """The unit of epoch numbers, by the magnitude of their median; `s` when nothing can be told."""
    column = decoded(as_column(values))
    if is_text(column.type):
        column = _numbers(column)
    if not is_number(column.type):
        return "s"
    numbers = floats(column).drop_null().to_numpy()
    numbers = np.abs(numbers[np.isfinite(numbers) & (numbers != 0)])
    if not len(numbers):
        return "s"
    # Beyond this no unit makes a time of it, and the mean of two larger ones may be no number.
    return _unit_of(float(np.median(np.minimum(numbers, 1e30))))


def epoch_unit(values: ArrayLike, nominal: TimeUnit) -> TimeUnit:
    """The unit of epoch numbers whose layout says `nominal`: that, unless their size says otherwise."""
    return nominal if largest_epoch(values) < SMALLEST_EPOCH else guess_time_unit(values)


def largest_epoch(values: ArrayLike) -> float:
    """The largest size among some numbers, 0 where there is none."""
    numbers = floats(decoded(as_column(values))).drop_null().to_numpy()
    return float(np.abs(numbers[np.isfinite(numbers)]).max(initial=0.0))


def parse_times(values: ArrayLike, unit: TimeUnit | None = None) -> Column:
    """Times as timestamp[ns, UTC], null where a value is no time.

    Takes timestamps (naive ones are UTC), dates, epoch integers or floats, numeric text, and ISO 8601 text
    with or without a zone (without: UTC). `unit` is that of epoch numbers; without it each is taken in the unit
    that its size says, and those too small to say it in the unit of the others.
    """
    column = decoded(as_column(values))
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _timestamps(column)
    if pa.types.is_date(kind):
        return _timestamps(column.cast(pa.timestamp("ms")))
    if is_number(kind):
        return _epoch(column, unit) if unit else _guessed_epochs(column)
    if is_text(kind) or pa.types.is_binary(kind):
        return _text_times(text(column), unit)
    return nulls(len(column), TIME)


def _timestamps(column: Column) -> Column:
    kind: Any = column.type
    if kind.unit == "ns":
        if kind.tz == "UTC":
            return column
        return chunked([chunk.view(pa.int64()).view(TIME) for chunk in column.chunks], TIME)
    chunks = [chunk.view(pa.int64()) for chunk in column.chunks]
    return _epoch(chunked(chunks, pa.int64()), kind.unit)


def _epoch(column: Column, unit: TimeUnit) -> Column:
    return scaled_ns(column, UNIT_NS[unit]).cast(TIME)


def _guessed_epochs(column: Column) -> Column:
    common = guess_time_unit(column)
    times = _epoch(column, common)
    sizes = pc.abs(floats(column))
    telling = pc.and_(pc.is_finite(sizes), pc.greater_equal(sizes, SMALLEST_EPOCH))
    if not pc.any(telling).as_py():
        return times
    limits = pc.min_max(pc.filter(sizes, telling))
    if _unit_of(limits["min"].as_py()) == _unit_of(limits["max"].as_py()):
        return times
    low = SMALLEST_EPOCH
    for limit, unit in (*_UNIT_LIMITS, (float("inf"), "ns")):
        if unit != common:
            here = pc.fill_null(pc.and_(pc.greater_equal(sizes, low), pc.less(sizes, limit)), False)
            chosen = pc.if_else(here, column, pa.scalar(None, column.type))
            times = pc.if_else(here, _epoch(chosen, cast(TimeUnit, unit)), times)
        low = limit
    return times


def _unit_of(size: float) -> TimeUnit:
    for limit, unit in _UNIT_LIMITS:
        if size < limit:
            return unit
    return "ns"


def scaled_ns(column: Column, factor: float) -> Column:
    """Numbers times `factor` as int64, null where not finite or beyond 64 bits."""
    if pa.types.is_integer(column.type) and float(factor).is_integer():
        bound = (2**63 - 1) // int(factor)
        low = -bound if pa.types.is_signed_integer(column.type) else 0
        extremes = pc.min_max(column)
        if extremes["min"].is_valid and not (low <= extremes["min"].as_py() and extremes["max"].as_py() <= bound):
            numbers = floats(column)
            column = pc.if_else(pc.less_equal(pc.abs(numbers), float(bound)), column, pa.scalar(None, column.type))
        return pc.multiply(column.cast(pa.int64()), pa.scalar(int(factor), pa.int64()))
    return _float_ns(floats(column), factor)


def _float_ns(column: Column, factor: float) -> Column:
    """Floats times factor; whole and fractional part apart, so that nanoseconds keep what the float holds."""
    whole = pc.floor(column)
    fraction = pc.round(pc.multiply(pc.subtract(column, whole), factor))
    usable = pc.fill_null(pc.less(pc.multiply(pc.abs(whole), abs(factor)), _INT64_MAX), False)
    usable = pc.and_(usable, pc.is_finite(column))
    zero, nothing = pa.scalar(0.0), pa.scalar(None, pa.int64())
    whole = pc.if_else(usable, whole, zero)
    fraction = pc.if_else(usable, fraction, zero)
    if not float(factor).is_integer():
        total = pc.round(pc.multiply(pc.if_else(usable, column, zero), factor)).cast(pa.int64())
    else:
        total = pc.add(pc.multiply(whole.cast(pa.int64()), int(factor)), fraction.cast(pa.int64()))
    return pc.if_else(usable, total, nothing)


def _numbers(column: Column) -> Column:
    """Numeric text as float64, null elsewhere."""
    numeric = pc.match_substring_regex(column, _NUMBER)
    clean = pc.utf8_trim_whitespace(pc.if_else(numeric, column, pa.scalar(None, pa.string())))
    clean = pc.if_else(pc.starts_with(clean, "+"), pc.utf8_slice_codeunits(clean, 1), clean)
    return clean.cast(pa.float64())


def _integers(column: Column) -> Column:
    """Text of whole numbers as int64, null elsewhere; a float64 would lose the last digits of a time in ns."""
    whole = pc.if_else(pc.match_substring_regex(column, _INTEGER), column, pa.scalar(None, pa.string()))
    return pc.replace_substring(pc.utf8_trim_whitespace(whole), "+", "").cast(pa.int64())


def _text_times(column: Column, unit: TimeUnit | None) -> Column:
    nothing = pa.scalar(None, pa.string())
    times = nulls(len(column), TIME)
    whole = _integers(column)
    if whole.null_count < len(whole):
        integers = pc.is_valid(whole)
        times = _epoch(whole, unit) if unit else _guessed_epochs(whole)
        column = pc.if_else(integers, nothing, column)
    if column.null_count == len(column):
        return times
    numbers = _numbers(column)
    if numbers.null_count < len(numbers):
        times = pc.coalesce(times, _epoch(numbers, unit) if unit else _guessed_epochs(numbers))
    return pc.coalesce(times, _iso_times(column))


def _iso_times(column: Column) -> Column:
    """ISO 8601 text; the patterns accept only what the cast accepts, so one bad value spoils no other."""
    nothing = pa.scalar(None, pa.string())
    local = pc.match_substring_regex(column, _ISO_LOCAL)
    zoned = pc.match_substring_regex(column, _ISO_ZONED)
    odd = pc.fill_null(pc.invert(pc.or_(local, zoned)), False)
    if pc.any(odd).as_py():
        column = pc.if_else(odd, _tidy_iso(column), column)
        local = pc.match_substring_regex(column, _ISO_LOCAL)
        zoned = pc.match_substring_regex(column, _ISO_ZONED)
    naive = pc.if_else(local, column, nothing).cast(pa.timestamp("ns"))
    aware = pc.if_else(zoned, column, nothing).cast(TIME)
    return pc.coalesce(_timestamps(naive), aware)


def _tidy_iso(column: Column) -> Column:
    """Near ISO 8601: slashes, a decimal comma, more than nine digits, `UTC`, blanks before a zone, Go's `m=+1.2`."""
    column = pc.utf8_trim_whitespace(column)
    for pattern, replacement in (
        (r" m=[+-][\d.]+$", ""),
        (r"^(\d{4})[/.](\d\d)[/.](\d\d)", r"\1-\2-\3"),
        (r"(\d[T ]\d\d:\d\d:\d\d),(\d)", r"\1.\2"),
        (r"(\.\d{9})\d+", r"\1"),
        (r"(\d)\s*([+-]\d\d:?\d\d)(?: [A-Z]{3,4})?$", r"\1\2"),
        (r"(\d)\s*(?:UTC|GMT|z|Z)$", r"\1Z"),
        (r"^(\d{4}-\d\d-\d\d)(?:t|\s+)(\d)", r"\1T\2"),
    ):
        column = pc.replace_substring_regex(column, pattern, replacement)
    return column


def parse_durations(values: ArrayLike, unit: TimeUnit = "ns") -> Column:
    """Durations as int64 ns, null where unusable; numbers are in `unit`, text may say its own (`1.5ms`)."""
    column = decoded(as_column(values))
    kind = column.type
    if pa.types.is_duration(kind):
        whole = pa.chunked_array([chunk.view(pa.int64()) for chunk in column.chunks], pa.int64())
        return scaled_ns(whole, UNIT_NS[cast(pa.DurationType, kind).unit])
    if is_number(kind):
        return scaled_ns(column, UNIT_NS[unit])
    if pa.types.is_timestamp(kind) or not (is_text(kind) or pa.types.is_binary(kind)):
        return nulls(len(column), pa.int64())
    plain = text(column)
    factor = UNIT_NS[unit]
    result = pc.coalesce(scaled_ns(_integers(plain), factor), scaled_ns(_numbers(plain), factor))
    if result.null_count == plain.null_count:
        return result
    parts = pc.extract_regex(pc.utf8_trim_whitespace(plain), pattern=_DURATION_TEXT)
    number = pc.replace_substring(pc.struct_field(parts, "value"), "+", "").cast(pa.float64())
    own = _mapped(pc.struct_field(parts, "unit"), _DURATION_UNITS.get).cast(pa.float64())
    total = scaled_ns(pc.multiply(number, own), 1)
    whole = pc.if_else(pc.is_valid(total), _integers(pc.struct_field(parts, "value")), pa.scalar(None, pa.int64()))
    return pc.coalesce(result, pc.multiply(whole, own.cast(pa.int64())), total)


_DURATION_UNITS: dict[str, str] = {
    "ns": "1", "us": "1e3", "µs": "1e3", "μs": "1e3", "ms": "1e6", "s": "1e9", "m": "6e10", "h": "3.6e12",
}  # fmt: skip


# ---- closed vocabularies ----------------------------------------------------------------------------------


def _mapped(column: Column, lookup: Callable[[str], str | None]) -> Column:
    """Plain strings with every distinct value replaced by what `lookup` says (null: unknown)."""

    def transform(values: Column) -> Column:
        found = [None if value is None else lookup(value) for value in values.to_pylist()]
        return pa.chunked_array([pa.array(found, pa.string())])

    return category(column, transform).cast(pa.string())


def _categorised(column: Column, lookup: Callable[[str], str | None]) -> Column:
    def transform(values: Column) -> Column:
        found = [None if value is None else lookup(value) for value in values.to_pylist()]
        return pa.chunked_array([pa.array(found, pa.string())])

    return category(column, transform)


_KIND_NUMBERS = {str(number): kind for number, kind in enumerate(SPAN_KINDS, start=1)}
STATUS_WORDS = {
    "0": "unset",
    "1": "ok",
    "2": "error",
    "true": "error",
    "false": "unset",
    "": "unset",
    "failed": "error",
}
SEVERITY_WORDS = {
    "verbose": "trace", "finest": "trace", "finer": "trace", "fine": "debug", "dbg": "debug",
    "config": "debug", "information": "info", "informational": "info", "notice": "info", "log": "info",
    "inf": "info", "default": "info", "warning": "warn", "wrn": "warn", "err": "error", "severe": "error",
    "failure": "error", "critical": "fatal", "crit": "fatal", "alert": "fatal", "emerg": "fatal",
    "emergency": "fatal", "panic": "fatal", "dpanic": "fatal", "i": "info", "w": "warn", "e": "error",
    "f": "fatal", "d": "debug", "t": "trace", "v": "trace",
}  # fmt: skip
_GRPC_NAMES = (
    "ok", "cancelled", "unknown", "invalidargument", "deadlineexceeded", "notfound", "alreadyexists",
    "permissiondenied", "resourceexhausted", "failedprecondition", "aborted", "outofrange", "unimplemented",
    "internal", "unavailable", "dataloss", "unauthenticated",
)  # fmt: skip
GRPC_NUMBERS = {name: str(number) for number, name in enumerate(_GRPC_NAMES)} | {"canceled": "1"}
_CODE = re.compile(r"^(?:http[ /]?(?:[\d.]+ )?|status[ =:]?)?(\d{1,3})(?:\.0+)?(?:\s.*)?$", re.IGNORECASE)


def span_kind(column: Column) -> Column:
    """`SPAN_KIND_SERVER`, `Server`, `2` → `server`; null where unknown."""

    def lookup(value: str) -> str | None:
        word = value.strip().lower().removeprefix("span_kind_")
        return word if word in SPAN_KINDS else _KIND_NUMBERS.get(word)

    return _categorised(column, lookup)


def span_status(column: Column) -> Column:
    """`STATUS_CODE_ERROR`, `Error`, `2`, true → `error`; what is neither ok nor error is `unset`."""

    def lookup(value: str) -> str:
        word = value.strip().lower().removeprefix("status_code_")
        return word if word in ("ok", "error", "unset") else STATUS_WORDS.get(word, "unset")

    return _categorised(column, lookup)


def status_code(column: Column) -> Column:
    """HTTP and gRPC codes as digits (`200.0` → `200`, `UNAVAILABLE` → `14`); null where it is neither."""

    def lookup(value: str) -> str | None:
        word = value.strip()
        match = _CODE.match(word)
        if match is not None:
            return str(int(match.group(1)))
        return GRPC_NUMBERS.get(word.lower().replace("_", "").replace(" ", ""))

    return _categorised(column, lookup)


def severity_of(value: str) -> str | None:
    """The level that a word or an OpenTelemetry severity number (1 to 24) names, None when it names none."""
    word = value.strip().strip("[]<>():").lower()
    if word in SEVERITIES:
        return word
    if word in SEVERITY_WORDS:
        return SEVERITY_WORDS[word]
    word = word.removeprefix("severity_number_").removesuffix(".0")
    if word.isascii() and word.isdigit():
        number = int(word[:4])
        if 1 <= number <= 24:
            return SEVERITIES[(number - 1) // 4]
        # Python's logging numbers begin where those of OpenTelemetry end.
        return {30: "warn", 40: "error", 50: "fatal"}.get(number)
    stem = word.rstrip("0123456789")
    return stem if stem in SEVERITIES else None


_LEVELS = r"trace|debug|info|information|notice|warn|warning|error|err|severe|fatal|critical|crit|panic|emerg"
_STAMP = r"[\[(]?(?:\d{4}[-/]\d\d[-/]\d\d[T ])?\d\d:\d\d:\d\d(?:[.,]\d+)?(?:\s?Z|\s?[+-]\d\d:?\d\d)?[\])]?[\s|:-]+"
_OPENING = rf"^\s*(?:{_STAMP})?[\[(<\"']?"
_BODY_LEVEL = rf"{_OPENING}(?i:(?P<word>{_LEVELS}))(?:[\])>\"':|,\t]|\s*[\]:|]|$)"
# Without a delimiter a word of common speech must be in capitals ("NOTICE the" but not "notice the").
_BARE_LEVEL = rf"{_OPENING}(?P<word>{_LEVELS.upper()}|(?i:error|warn|warning|fatal|debug|info))\s"
_KEYED_LEVEL = (
    r"""^[\s{]*(?:.{0,48}?[\s,{])?["']?(?i:level|severity|lvl|loglevel)["']?\s*[=:]\s*"""
    r"""["']?(?P<word>[A-Za-z]+)"""
)
_KLOG_LEVEL = r"^(?P<word>[IWEF])\d{4} \d\d:\d\d:\d\d"


def severity(column: Column | None, body: Column | None) -> Column:
    """Levels as the model names them; where none is given, the one with which the body plainly begins."""
    if column is None:
        if body is None:
            raise ValueError("neither a severity nor a body column")
        return category(_body_severity(body))
    given = _categorised(column, severity_of)
    if body is None or given.null_count == 0:
        return given
    missing = pc.is_null(given)
    heads = pc.if_else(missing, body, pa.scalar(None, pa.string()))
    return category(pc.coalesce(given.cast(pa.string()), _body_severity(heads)))


def _body_severity(body: Column) -> Column:
    head = pc.utf8_slice_codeunits(body, 0, 96)
    word: Column | None = None
    for pattern in (_BODY_LEVEL, _BARE_LEVEL, _KEYED_LEVEL, _KLOG_LEVEL):
        found = pc.struct_field(pc.extract_regex(head, pattern=pattern), "word")
        word = found if word is None else pc.coalesce(word, found)
    assert word is not None
    return _mapped(word, severity_of)
