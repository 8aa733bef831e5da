"""Parsers of the /proc and /sys files that describe a guest. Each reads one file, nothing else.

Formats: mm/vmstat.c (zoneinfo, buddyinfo, pagetypeinfo), kernel/time/timer_list.c (timer_list).
"""

import gzip
import os
import platform
import re
import time
from pathlib import Path

from tracer.faults import environment
from tracer.format import BuddyInfo, Guest, Reporting, Zone

PROC = Path("/proc")
SYS = Path("/sys")

VIRTIO_BALLOON_ID = 5
VIRTIO_BALLOON_F_REPORTING = 5
PCP_COSTLY_ORDER = 3  # PAGE_ALLOC_COSTLY_ORDER

_ZONE_HEAD = re.compile(r"Node (\d+), zone +(\S+)")
_ZONE_FIELD = re.compile(r" +(?:pages )?(free|boost|min|low|high|spanned|present|managed) +(\d+)$")
_START_PFN = re.compile(r" +start_pfn: +(\d+)$")


def parse_zoneinfo(text: str) -> list[Zone]:
    """Populated zones of /proc/zoneinfo, in node and zone order. Counts in frames."""
    zones: list[Zone] = []
    for block in re.split(r"(?m)^(?=Node \d+, zone)", text):
        head = _ZONE_HEAD.match(block)
        if head is None:
            continue
        values: dict[str, int] = {}
        for line in block.splitlines():
            # The per-CPU part repeats `high:`; its fields end with a colon and do not match here.
            if match := _ZONE_FIELD.match(line):
                values.setdefault(match[1], int(match[2]))
            elif match := _START_PFN.match(line):
                values["start_pfn"] = int(match[1])
        if values.get("managed"):
            values = {"boost": 0, "start_pfn": 0} | values  # older kernels show no boost
            zones.append(Zone(node=int(head[1]), name=head[2], **values))
    return zones


def read_zones(proc: Path = PROC) -> list[Zone]:
    """Populated zones now."""
    return parse_zoneinfo((proc / "zoneinfo").read_text())


def parse_buddyinfo(text: str, read_begin_ns: int, read_end_ns: int) -> list[BuddyInfo]:
    """Free blocks per zone and order of /proc/buddyinfo."""
    rows = re.findall(r"Node (\d+), zone +(\S+) +([\d ]+)", text)
    return [
        BuddyInfo(int(node), zone, [int(n) for n in counts.split()], read_begin_ns, read_end_ns)
        for node, zone, counts in rows
    ]


def read_buddyinfo(proc: Path = PROC) -> list[BuddyInfo]:
    """Free blocks per zone and order now, with the instants around the read."""
    begin = time.monotonic_ns()
    text = (proc / "buddyinfo").read_text()
    return parse_buddyinfo(text, begin, time.monotonic_ns())


def parse_pagetypeinfo(text: str) -> tuple[int, list[str]]:
    """Pageblock order and the names of the migratetypes, in the kernel's numbering."""
    order = re.search(r"Page block order: (\d+)", text)
    names = re.search(r"Number of blocks type +(.*)", text)
    if order is None or names is None:
        raise environment(
            "/proc/pagetypeinfo has no pageblock order or migratetypes",
            "its text has another form than any known kernel's",
            "report this kernel to the project, with that file",
        )
    return int(order[1]), names[1].split()


def parse_timer_list(text: str) -> tuple[int, int] | None:
    """(jiffies, CLOCK_MONOTONIC ns) of one instant from /proc/timer_list, or None."""
    now = re.search(r"^now at (\d+) nsecs", text, re.MULTILINE)
    jiffies = [int(n) for n in re.findall(r"^jiffies: (\d+)", text, re.MULTILINE)]
    return (max(jiffies), int(now[1])) if now and jiffies else None


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


def _read_private(path: Path) -> str:
    """A file that only root may read.

    Raises:
        Fault: when it cannot be read.
    """
    try:
        return path.read_text()
    except OSError as error:
        how = f"{error.strerror} (errno {error.errno})"
        raise environment(f"{path} cannot be read", how, "run it as root, with sudo") from error


def read_guest(proc: Path = PROC, sys: Path = SYS) -> Guest:
    """What does not change while recording."""
    page_size = os.sysconf("SC_PAGE_SIZE")
    release = os.uname().release
    pageblock_order, migratetypes = parse_pagetypeinfo(_read_private(proc / "pagetypeinfo"))
    timer_list = _read_optional(proc / "timer_list")
    pair = parse_timer_list(timer_list) if timer_list else None
    thp = _read_optional(sys / "kernel/mm/transparent_hugepage/enabled")
    thp_mode = re.search(r"\[(\w+)\]", thp) if thp else None
    return Guest(
        kernel_release=release,
        machine=platform.machine(),
        cpus=os.cpu_count() or 1,
        page_size=page_size,
        max_order=len(read_buddyinfo(proc)[0].blocks) - 1,
        pageblock_order=pageblock_order,
        migratetypes=migratetypes,
        pcp_orders=pcp_orders(page_size, proc, sys),
        thp_mode=thp_mode[1] if thp_mode else None,
        hz=read_hz(release, pair, proc),
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
