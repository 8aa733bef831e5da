"""The words of `pagetide record` as settings: parsed, checked, and what of them may be shared."""

import mmap
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from tracer.faults import Fault
from tracer.format import MAX_ORDER_LIMIT, PFN_BITS, Filters
from tracer.probes.points import LAYERS
from tracer.recording.settings import Settings
from tracer.units import duration_ns, size_bytes

MIN_SEGMENT_NS = 100_000_000
MIN_RESYNC_NS = 5_000_000_000
MIN_KEEP_NS = 40_000_000_000


@dataclass(frozen=True)
class Asked:
    """The options as they were written."""

    layer: str = "buddy"
    segment: str = "5s"
    ring: str = "64MiB"
    min_free: str = "64MiB"
    mode: str = "0600"
    duration: str | None = None
    settle: str | None = None
    resync: str | None = None
    keep: str | None = None
    max_size: str | None = None
    orders: str | None = None
    zones: str | None = None
    pfns: str | None = None
    with_pid: bool = False
    with_gfp: bool = False

    def shareable(self, out: Path, command: list[str] | None) -> list[str]:
        """The command line for the manifest: of paths the last part, of COMMAND no arguments."""
        line = ["pagetide", "record", out.name]
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is True:
                line.append(f"--{entry.name.replace('_', '-')}")
            elif value not in (None, False, entry.default) or entry.name in {"segment", "ring"}:
                line += [f"--{entry.name.replace('_', '-')}", value]
        return [*line, "--", Path(command[0]).name] if command else line


def settings_of(asked: Asked, *, force: bool) -> Settings:
    """Settings from the options.

    Raises:
        Fault: naming the option that cannot be.
    """
    if asked.layer not in LAYERS:
        raise _refused("layer", asked.layer, f"the layers are {', '.join(LAYERS)}", "choose one of them")
    if (asked.with_pid or asked.with_gfp) and asked.layer == "buddy":
        flag = "with-pid" if asked.with_pid else "with-gfp"
        raise _refused(flag, "", "the buddy layer's events have no owner", "add --layer frame or both")
    return Settings(
        duration_ns=None if asked.duration is None else _quantity("duration", asked.duration, duration_ns),
        settle_ns=0 if asked.settle is None else _quantity("settle", asked.settle, duration_ns),
        segment_ns=_at_least("segment", asked.segment, MIN_SEGMENT_NS, "each segment is a file", "100ms"),
        ring_bytes=_ring_bytes(asked.ring),
        layer=asked.layer,
        filters=_filters(asked),
        with_pid=asked.with_pid,
        with_gfp=asked.with_gfp,
        resync_ns=None
        if asked.resync is None
        else _at_least("resync", asked.resync, MIN_RESYNC_NS, "it reads all of memory", "5s"),
        keep_ns=None
        if asked.keep is None
        else _at_least("keep", asked.keep, MIN_KEEP_NS, "it needs a snapshot each quarter", "40s"),
        max_bytes=None if asked.max_size is None else _quantity("max-size", asked.max_size, size_bytes),
        min_free_bytes=_quantity("min-free", asked.min_free, size_bytes),
        file_mode=_file_mode(asked.mode),
        force=force,
    )


def _refused(option: str, text: str, how: str, fix: str) -> Fault:
    return Fault(f"--{option} {text} is not possible".replace("  ", " "), how, fix)


def _quantity(option: str, text: str, parse: Callable[[str], int]) -> int:
    """A duration or a size; what is wrong with it names the option."""
    try:
        return parse(text)
    except Fault as fault:
        raise Fault(f"--{option}: {fault.what}", fault.how, fault.fix) from fault


def _at_least(option: str, text: str, least_ns: int, how: str, least: str) -> int:
    value = _quantity(option, text, duration_ns)
    if value < least_ns:
        raise Fault(f"--{option} {text} is too short", how, f"{least} or more")
    return value


def _ring_bytes(text: str) -> int:
    value = _quantity("ring", text, size_bytes)
    if not mmap.PAGESIZE <= value <= 1 << 30 or value & (value - 1):
        how = "a BPF ring is a power of two, from one page to 1GiB"
        raise _refused("ring", text, how, "64MiB is a good size")
    return value


def _file_mode(text: str) -> int:
    fix = "0600 or 0640"
    if not re.fullmatch(r"0?[67][0-7]{2}", text):
        raise _refused("mode", text, "it must be octal, readable and writable by its owner", fix)
    if int(text, 8) & 0o111:
        raise _refused("mode", text, "executable bits are not allowed", fix)
    return int(text, 8)


def _filters(asked: Asked) -> Filters | None:
    if asked.orders is None and asked.zones is None and asked.pfns is None:
        return None
    return Filters(
        orders=None if asked.orders is None else _span("orders", asked.orders, MAX_ORDER_LIMIT),
        pfns=None if asked.pfns is None else _span("pfns", asked.pfns, 1 << PFN_BITS),
        zones=None if asked.zones is None else _names("zones", asked.zones),
    )


def _names(option: str, text: str) -> list[str]:
    names = text.split(",")
    if not all(re.fullmatch(r"\w+", name) for name in names):
        raise _refused(option, text, "it is not NAME or NAME,NAME", f"--{option} Normal,DMA32")
    return names


_SPANS = {"orders": "--orders 9-10", "pfns": "--pfns 0x100000-0x200000"}


def _span(option: str, text: str, most: int) -> list[int]:
    """`A-B` or `A`, decimal or 0x: orders include B, of pfns B is the first one not kept."""
    number = r"(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})"
    match = re.fullmatch(rf"{number}(?:-{number})?", text)
    if match is None:
        raise _refused(option, text, "it is not FIRST-LAST", _SPANS[option])
    first = _whole(match[1])
    last = _whole(match[2]) if match[2] else first + (option == "pfns")
    if first > last:
        raise _refused(option, text, "it is reversed: its end is before its start", _SPANS[option])
    if option == "pfns" and first == last:
        raise _refused(option, text, "it is empty: its end is not included", _SPANS[option])
    if last > most:
        raise _refused(option, text, f"it ends above {most}", _SPANS[option])
    return [first, last]


def _whole(text: str) -> int:
    return int(text, 16) if text[:2] in {"0x", "0X"} else int(text)
