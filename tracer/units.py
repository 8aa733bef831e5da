"""Durations and sizes as people write them: `100ms`, `64MiB`. A bare number is refused."""

import re

from tracer.faults import Fault

DURATIONS_NS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
}
SIZES_BYTES = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}
_QUANTITY = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def _parse(text: str, units: dict[str, int], kind: str, example: str) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise Fault(f"{text!r} is not a {kind}", "it is not a number and a unit", f"write {example}")
    number, unit = match.groups()
    if unit not in units:
        how = f"{unit!r} is no unit of a {kind}" if unit else "the unit is missing"
        raise Fault(f"{text!r} is not a {kind}", how, f"write {example}; units: {', '.join(units)}")
    whole, _, fraction = number.partition(".")
    scale = units[unit]
    return int(whole) * scale + (round(float(f"0.{fraction}") * scale) if fraction else 0)


def duration_ns(text: str) -> int:
    """Nanoseconds of a duration like `2s`, `100ms` or `1.5h`.

    Raises:
        Fault: when `text` is not a number with a unit of time.
    """
    return _parse(text, DURATIONS_NS, "duration", "100ms or 2s")


def write_duration(value_ns: int) -> str:
    """A duration as `duration_ns` reads it, in the largest unit that holds it exactly."""
    for unit in ("s", "ms", "us"):
        if value_ns % DURATIONS_NS[unit] == 0:
            return f"{value_ns // DURATIONS_NS[unit]}{unit}"
    return f"{value_ns}ns"


def short_duration(value_ns: int) -> str:
    """A duration as `duration_ns` reads it, for people: at most three decimals of the unit it fills."""
    for unit in ("s", "ms", "us"):
        if value_ns >= DURATIONS_NS[unit]:
            return f"{value_ns / DURATIONS_NS[unit]:.3f}".rstrip("0").rstrip(".") + unit
    return f"{value_ns}ns"


def size_bytes(text: str) -> int:
    """Bytes of a size like `64MiB` or `2GiB`.

    Raises:
        Fault: when `text` is not a number with a unit of size.
    """
    return _parse(text, SIZES_BYTES, "size", "64MiB or 2GiB")


def _three_digits(value: float) -> str:
    """At least three significant digits, and no exponent."""
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def human_bytes(size: float) -> str:
    """A size for people: three significant digits and a binary unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{_three_digits(size)} {unit}"
        size /= 1024
    return f"{_three_digits(size)} TiB"


def short_number(number: float) -> str:
    """A count for people, in at most four characters up to 999T."""
    suffixes = iter(("", "k", "M", "G", "T"))
    suffix = next(suffixes)
    while abs(number) >= 999.5:
        number, suffix = number / 1000, next(suffixes)
    return f"{number:.1f}{suffix}" if suffix and abs(number) < 9.95 else f"{number:.0f}{suffix}"


def human_duration(duration_s: float | None) -> str:
    """A duration for people: three significant digits and a unit; a dash for none."""
    if duration_s is None:
        return "-"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(duration_s) >= scale or (unit == "us" and duration_s):
            return f"{_three_digits(duration_s / scale)} {unit}"
    return "0 s"
