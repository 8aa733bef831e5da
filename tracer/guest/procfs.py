"""What the /proc and /sys files that describe a guest say: pure parsers of their texts, and readers.

Formats: mm/vmstat.c (zoneinfo, buddyinfo, pagetypeinfo), kernel/time/timer_list.c (timer_list).
"""

import dataclasses
import gzip
import os
import platform
import re
import time
from collections.abc import Sequence
from pathlib import Path

from tracer.faults import Fault, environment
from tracer.format import BuddyInfo, Guest, Reporting, Zone
from tracer.guest.files import PROC, GuestFiles

SYS = Path("/sys")

VIRTIO_BALLOON_ID = 5
VIRTIO_BALLOON_F_REPORTING = 5
PCP_COSTLY_ORDER = 3  # PAGE_ALLOC_COSTLY_ORDER

_ZONE_HEAD = re.compile(r"(\d+), zone +(\S+)")
_NUMBER = re.compile(r"\d{1,18}")
_COUNTER = re.compile(r"(\w+) +(\d{1,18})\b")
_START_PFN = re.compile(r"start_pfn: +(\d{1,18})\b")
_PCP_COUNT = re.compile(r" count: +(\d{1,18})\b")


def _unknown_form(name: str, lacks: str) -> Fault:
    return environment(
        f"/proc/{name} has no {lacks}",
        "its text has another form than any known kernel's",
        "report this kernel to the project, with that file",
    )


def zone_counts(text: str) -> dict[tuple[int, str], dict[str, int]]:
    """All zones of /proc/zoneinfo by node and name, in its order: their counts, named as there.

    Counts in frames. Besides: `start_pfn`, and `pcp`, the sum over the CPUs' lists; a zone without
    memory shows neither. Each second a text that is long where CPUs are many is read, so the parts
    that are not wanted are skipped, not parsed.
    """
    zones = {}
    for block in f"\n{text}".split("\nNode ")[1:]:
        if head := _ZONE_HEAD.match(block):
            # Per-node statistics come before, protection and the CPUs' lists (another `high`) after.
            own = block.partition("\n  pages ")[2].partition("protection:")[0]
            counts = {name: int(value) for name, value in _COUNTER.findall(own)}
            if start := _START_PFN.search(block):
                counts["start_pfn"] = int(start[1])
            if lists := _PCP_COUNT.findall(block):
                counts["pcp"] = sum(map(int, lists))
            zones[int(head[1]), head[2]] = counts
    return zones


def parse_zoneinfo(text: str) -> list[Zone]:
    """Populated zones of /proc/zoneinfo, in node and zone order. Counts in frames.

    Raises:
        Fault: when a zone lacks a count that every kernel shows.
    """
    shown = [field.name for field in dataclasses.fields(Zone) if field.name not in {"node", "name"}]
    zones = []
    for (node, name), counts in zone_counts(text).items():
        if counts.get("managed") == 0:
            continue
        known = {"boost": 0, "start_pfn": 0} | counts  # older kernels show no boost
        if lacking := [field for field in shown if field not in known]:
            raise _unknown_form("zoneinfo", f"{lacking[0]} count of zone {name}")
        zones.append(Zone(node=node, name=name, **{field: known[field] for field in shown}))
    return zones


def read_zones(files: GuestFiles) -> list[Zone]:
    """Populated zones now.

    Raises:
        Fault: when the file cannot be read or has none.
    """
    zones = parse_zoneinfo(files.text("zoneinfo"))
    if not zones:
        raise _unknown_form("zoneinfo", "zone with memory")
    return zones


def parse_buddyinfo(text: str, read_begin_ns: int, read_end_ns: int) -> list[BuddyInfo]:
    """Free blocks per zone and order of /proc/buddyinfo."""
    rows = re.findall(r"Node (\d+), zone +(\S+) +(\d[\d ]*)", text)
    return [
        BuddyInfo(int(node), zone, [int(n) for n in counts.split()], read_begin_ns, read_end_ns)
        for node, zone, counts in rows
    ]


def read_buddyinfo(files: GuestFiles) -> list[BuddyInfo]:
    """Free blocks per zone and order now, with the instants around the read.

    Raises:
        Fault: when the file cannot be read or has none.
    """
    begin = time.monotonic_ns()
    text = files.text("buddyinfo")
    found = parse_buddyinfo(text, begin, time.monotonic_ns())
    if not found:
        raise _unknown_form("buddyinfo", "zone with free blocks")
    return found


def parse_vmstat(text: str, names: Sequence[str]) -> dict[str, int]:
    """Those counters of /proc/vmstat that it shows.

    Raises:
        Fault: when it has lines other than a name and a number.
    """
    words = text.split()
    shown = dict(zip(words[::2], words[1::2], strict=False))
    values = {name: shown[name] for name in names if name in shown}
    if len(words) != 2 * text.count("\n") or not all(map(_NUMBER.fullmatch, values.values())):
        raise _unknown_form("vmstat", "names and numbers line by line")
    return {name: int(value) for name, value in values.items()}


def parse_pagetypeinfo(text: str) -> tuple[int, list[str]]:
    """Pageblock order and the names of the migratetypes, in the kernel's numbering."""
    order = re.search(r"Page block order: (\d+)", text)
    names = re.search(r"Number of blocks type +(.*)", text)
    if order is None or names is None:
        raise _unknown_form("pagetypeinfo", "pageblock order or migratetypes")
    return int(order[1]), names[1].split()


def parse_timer_list(text: str) -> tuple[int, int] | None:
    """(jiffies, CLOCK_MONOTONIC ns) of one instant from /proc/timer_list, or None."""
    now = re.search(r"^now at (\d+) nsecs", text, re.MULTILINE)
    jiffies = [int(n) for n in re.findall(r"^jiffies: (\d+)", text, re.MULTILINE)]
    return (max(jiffies), int(now[1])) if now and jiffies else None


def at_its_tick(pair: tuple[int, int], text: str, hz: int | None) -> tuple[int, int]:
    """The same jiffies, and when they began: the last tick before, of those that /proc/timer_list tells of.

    All ticks are whole periods apart (kernel/time/tick-sched.c, tick_do_update_jiffies64). Where no tick
    is told, or the rate is not known, the pair as it is: up to a period late.
    """
    tick = re.search(r"tick_\w+, S:\w+\n # expires at (\d+)", text)
    if tick is None or hz is None:
        return pair
    jiffies, now_ns = pair
    return jiffies, now_ns - (now_ns - int(tick[1])) % (1_000_000_000 // hz)


def hz_from_jiffies(jiffies: int, monotonic_ns: int) -> int | None:
    """The tick rate, given that jiffies start 300 s before their 32-bit wrap (INITIAL_JIFFIES).

    None when no rate fits, or more than one does, as all do around 300 s after boot.
    """
    since_wrap_s = monotonic_ns / 1e9 - 300
    fitting = [hz for hz in (100, 250, 300, 1000) if abs(jiffies - (1 << 32) - hz * since_wrap_s) < 1.5 * hz]
    return fitting[0] if len(fitting) == 1 else None


def read_hz(release: str, pair: tuple[int, int] | None, proc: Path = PROC) -> int | None:
    """CONFIG_HZ from the kernel's configuration, else worked out from a (jiffies, ns) pair."""
    for path in (proc / "config.gz", Path("/boot") / f"config-{release}"):
        try:
            raw = path.read_bytes()
        except OSError:
            continue
        text = gzip.decompress(raw) if path.suffix == ".gz" else raw
        if match := re.search(rb"^CONFIG_HZ=(\d+)$", text, re.MULTILINE):
            return int(match[1])
    return hz_from_jiffies(*pair) if pair else None


def pcp_orders(page_size: int, proc: Path = PROC, sys: Path = SYS) -> list[int]:
    """Orders that per-CPU lists may hold: pcp_allowed_order() in mm/page_alloc.c.

    Higher orders came with `percpu_pagelist_high_fraction` (both in the 5.14 merge window), so
    that sysctl's presence tells; the THP order joins where huge pages are built in.
    """
    if not (proc / "sys/vm/percpu_pagelist_high_fraction").exists():
        return [0]
    orders = list(range(PCP_COSTLY_ORDER + 1))
    try:
        pmd_bytes = int((sys / "kernel/mm/transparent_hugepage/hpage_pmd_size").read_text())
    except (OSError, ValueError):
        return orders
    return [*orders, (pmd_bytes // page_size).bit_length() - 1]


def _read_optional(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def read_guest(files: GuestFiles, sys: Path = SYS) -> Guest:
    """What does not change while recording.

    Raises:
        Fault: when it cannot be read.
    """
    page_size = os.sysconf("SC_PAGE_SIZE")
    release = os.uname().release
    pageblock_order, migratetypes = parse_pagetypeinfo(files.text("pagetypeinfo"))
    timer_list = files.optional_text("timer_list")
    pair = parse_timer_list(timer_list) if timer_list else None
    hz = read_hz(release, pair, files.proc)
    if pair and timer_list:
        pair = at_its_tick(pair, timer_list, hz)
    thp = _read_optional(sys / "kernel/mm/transparent_hugepage/enabled")
    thp_mode = re.search(r"\[(\w+)\]", thp) if thp else None
    return Guest(
        kernel_release=release,
        machine=platform.machine(),
        cpus=os.cpu_count() or 1,
        page_size=page_size,
        max_order=len(read_buddyinfo(files)[0].blocks) - 1,
        pageblock_order=pageblock_order,
        migratetypes=migratetypes,
        pcp_orders=pcp_orders(page_size, files.proc, sys),
        thp_mode=thp_mode[1] if thp_mode else None,
        hz=hz,
        jiffies=pair[0] if pair else None,
        jiffies_monotonic_ns=pair[1] if pair else None,
    )


def read_reporting(sys: Path = SYS) -> Reporting:
    """The guest's own free page reporting: its order, and whether a balloon negotiated it."""
    order = _read_optional(sys / "module/page_reporting/parameters/page_reporting_order")
    balloons = [
        bits
        for device in sorted((sys / "bus/virtio/devices").glob("*"))
        if int(_read_optional(device / "device") or "0", 16) == VIRTIO_BALLOON_ID
        and (bits := _read_optional(device / "features"))
    ]
    # virtio's `features` is a string of 0 and 1, bit 0 first.
    active = any(
        bits[VIRTIO_BALLOON_F_REPORTING : VIRTIO_BALLOON_F_REPORTING + 1] == "1" for bits in balloons
    )
    known = (sys / "bus/virtio/devices").is_dir()
    return Reporting(order=int(order) if order else None, active=active if known else None)
