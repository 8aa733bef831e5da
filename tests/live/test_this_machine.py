"""What is read of this machine, against this machine."""

import gzip
import re
from pathlib import Path

from replay.buddy.frames import Frames, free_blocks
from replay.geometry import Geometry
from tracer import FrameState, Snapshot
from tracer.guest import snapshot
from tracer.guest.procfs import read_buddyinfo, read_guest, read_zones

CONFIG = Path("/proc/config.gz")


def test_orders_are_the_kernels(live: None) -> None:
    guest = read_guest()
    assert all(len(info.blocks) == guest.max_order + 1 for info in read_buddyinfo())
    text = Path("/proc/pagetypeinfo").read_text()
    assert f"Page block order: {guest.pageblock_order}\n" in text
    assert f"Pages per block:  {1 << guest.pageblock_order}\n" in text
    assert guest.pageblock_order <= guest.max_order


def test_hz_is_the_configured_one_where_the_kernel_shows_it() -> None:
    hz = read_guest().hz
    assert hz in {None, 100, 250, 300, 1000}
    if CONFIG.exists():
        match = re.search(rb"^CONFIG_HZ=(\d+)$", gzip.decompress(CONFIG.read_bytes()), re.MULTILINE)
        assert match is not None
        assert hz == int(match[1])


def test_zones_manage_no_more_than_is_present() -> None:
    zones = read_zones()
    assert zones
    for zone in zones:
        assert 0 < zone.managed <= zone.present <= zone.spanned, zone
        assert zone.min <= zone.low <= zone.high, zone


def take() -> tuple[Snapshot, Geometry, Frames]:
    guest = read_guest()
    taken, runs = snapshot.take("start", guest.pageblock_order)
    geometry = Geometry.of(guest, taken.zones)
    return taken, geometry, Frames.of(runs, geometry.frames)


def test_a_snapshot_decodes_into_the_blocks_of_buddyinfo() -> None:
    # The machine lives on in the half second of a snapshot: the quietest of three tells.
    assert min(drifted_share(*take()) for _ in range(3)) <= 0.005


def drifted_share(taken: Snapshot, geometry: Geometry, frames: Frames) -> float:
    """Frames in blocks that only one of the two has, as a share of all managed."""
    drifted = 0
    for index, (zone, info) in enumerate(zip(geometry.zones, taken.buddyinfo, strict=True)):
        assert (zone.node, zone.name) == (info.node, info.zone)
        heads = free_blocks(frames.state == FrameState.BUDDY, geometry, index)
        counts = [len(found) for found in heads]
        drifted += sum(
            abs(a - b) << order for order, (a, b) in enumerate(zip(counts, info.blocks, strict=True))
        )
        print(zone.name, counts, info.blocks, drifted)
    return drifted / sum(zone.managed for zone in geometry.zones)


def test_a_snapshot_has_as_many_frames_as_are_managed() -> None:
    taken, _, frames = take()
    for zone in taken.zones:
        there = int((frames.state[zone.start_pfn : zone.end_pfn] != FrameState.ABSENT).sum())
        print(f"{zone.name}: {there} frames, {zone.managed} managed, {there - zone.managed:+}")
        assert abs(there - zone.managed) <= 0.01 * zone.managed


def test_managed_memory_never_shrinks() -> None:
    # It may grow: deferred initialisation goes on while the guest runs.
    earlier = take()[0].zones
    for before, now in zip(earlier, read_zones(), strict=True):
        assert now.managed >= before.managed
