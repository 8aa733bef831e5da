"""Parameters that cannot be, all refused in one way, and sizes as they are written."""

from tracer import Fault
from tracer.units import SIZES_BYTES


def refuse(what: str, how: str, fix: str) -> Fault:
    """The fault of a parameter that cannot be."""
    return Fault(f"{what} is not possible", how, fix)


def write_size(size: int) -> str:
    """A size as `size_bytes` reads it, in the largest binary unit that holds it exactly."""
    unit = next(name for name in ("TiB", "GiB", "MiB", "KiB", "B") if size % SIZES_BYTES[name] == 0)
    return f"{size // SIZES_BYTES[unit]}{unit}"


def between(name: str, value: float, least: int, most: float, what: str) -> None:
    """Refuse a number outside [least, most]. `what`: it is, or is measured in.

    Raises:
        Fault: naming it.
    """
    if not isinstance(value, int | float) or not least <= value <= most:  # NaN is not between
        raise refuse(f"{name} {value!r:.40}", f"it must be from {least:,} to {most:,}", what)


def whole_between(name: str, value: int, least: int, most: int, what: str) -> None:
    """The same of a whole number.

    Raises:
        Fault: naming it.
    """
    if not isinstance(value, int) or not least <= value <= most:
        raise refuse(f"{name} {value!r:.40}", f"it must be a whole number from {least:,} to {most:,}", what)


def one_of(name: str, value: str, words: tuple[str, ...]) -> None:
    """Refuse what is none of these words.

    Raises:
        Fault: naming it.
    """
    if value not in words:
        raise refuse(f"{name}={value!s:.40}", f"it must be {' or '.join(words)}", "choose one of these")
