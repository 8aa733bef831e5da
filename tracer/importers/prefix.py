"""What stands before an event's fields: `TASK-PID (TGID) [CPU] FLAGS SECONDS: CATEGORY:EVENT:`.

ftrace (trace, trace_pipe, trace-cmd report) and perf script differ in what they print of it, and
perf's -F can leave out all but the time and the event. A task's name may hold anything, but only 15
bytes of it: too few for a time stamp with an event's name.
"""

import polars as pl

from tracer.importers.events import BY_EVENT, TAIL

HEAD = pl.col("head")  # a line up to its time stamp
NAMES = "|".join(BY_EVENT)
# Where the tail begins. perf may print a sample's period before the event.
STAMP = rf"[0-9]+\.(?:[0-9]{{9}}|[0-9]{{6}}):[ \t]+(?:[0-9]+[ \t]+)?(?:[a-z]+:)?(?:{NAMES}):"

_TGID = r"\([ \t]*[-0-9]+\)[ \t]+"
_CPU = r"\[[0-9]+\][ \t]+(?:[0-9A-Za-z.#]+[ \t]+)?"  # ftrace prints flags behind the CPU
# The longest task name with its padding is 16 wide; more than 32 is another event's text.
_WHOLE = rf"^[ \t]*(?:(?:.{{0,32}}?[- \t])?(?:-?[0-9]+/)?-?[0-9]+[ \t]+)?(?:{_TGID})?(?:{_CPU})?$"
_MOST_SECONDS = 9_000_000_000  # more nanoseconds do not fit 63 bits
_UNKNOWN_TASK = r"^[ \t]*:-1[ \t]+-1[ \t]"  # perf, of a sample without a task


def _time_ns() -> pl.Expr:
    seconds, fraction = (pl.col(name).cast(pl.Int64, strict=False) for name in ("seconds", "fraction"))
    ns = pl.when(pl.col("microseconds")).then(fraction * 1000).otherwise(fraction)
    return pl.when(seconds < _MOST_SECONDS).then(seconds * 1_000_000_000 + ns)


def _process() -> pl.Expr:
    """The process: `(TGID)`, the first of `PID/TID`, or else the one number there is."""
    tgid = HEAD.str.extract(r"\([ \t]*([0-9]+)\)[ \t]+(?:\[|$)")
    first = HEAD.str.extract(rf"(?:^|[- \t])([0-9]+)/-?[0-9]+[ \t]+(?:{_TGID})?(?:{_CPU})?$")
    only = HEAD.str.extract(rf"(?:^|[- \t])([0-9]+)[ \t]+(?:{_TGID})?(?:{_CPU})?$")
    known = pl.coalesce(tgid, first, only).cast(pl.UInt32, strict=False).fill_null(0)
    return pl.when(HEAD.str.contains(_UNKNOWN_TASK)).then(0).otherwise(known)


def _names_a_process() -> pl.Expr:
    return HEAD.str.contains(rf"\([ \t]*[0-9]+\)[ \t]+(?:\[|$)|[0-9]/-?[0-9]+[ \t]+(?:{_CPU})?$")


def read(lines: pl.DataFrame, *, with_pid: bool) -> pl.DataFrame:
    """Add what the heads and the starts of the tails say.

    ts_ns (null: cannot be), microseconds (the line says no more), event (its name), shaped (is the
    head one?), cpu (null where the line has none), and for pids: pid (0: unknown), threads (the
    number may be a thread's).
    """
    texts = {
        "seconds": TAIL.str.extract(r"^([0-9]+)"),
        "fraction": TAIL.str.extract(r"\.([0-9]+)"),
        "microseconds": ~TAIL.str.contains(r"^[0-9]+\.[0-9]{9}:"),
        "event": TAIL.str.extract(r"(mm_[a-z_]+):"),
        "shaped": HEAD.str.contains(_WHOLE),
        "cpu": HEAD.str.extract(r"\[([0-9]+)\][ \t]+(?:[0-9A-Za-z.#]+[ \t]+)?$"),
    }
    if with_pid:
        texts |= {"pid": _process(), "threads": ~_names_a_process()}
    cpu = pl.col("cpu").cast(pl.Int64, strict=False)
    return lines.with_columns(**texts).with_columns(ts_ns=_time_ns(), cpu=cpu)
