"""What is read of this machine, against this machine."""

import gzip
import itertools
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replay.buddy.frames import Frames, free_blocks
from replay.geometry import Geometry
from tests.live.running import REPO, WORKLOAD
from tracer import FrameState, Snapshot
from tracer.format import SAMPLE_COLUMNS
from tracer.guest import samples, snapshot
from tracer.guest.files import GuestFiles
from tracer.guest.procfs import read_buddyinfo, read_guest, read_zones
from tracer.guest.samples import Sampler

CONFIG = Path("/proc/config.gz")


@pytest.fixture(name="files")
def _files() -> Iterator[GuestFiles]:
    with GuestFiles() as opened:
        yield opened


def test_orders_are_the_kernels(files: GuestFiles) -> None:
    guest = read_guest(files)
    assert all(len(info.blocks) == guest.max_order + 1 for info in read_buddyinfo(files))
    text = Path("/proc/pagetypeinfo").read_text()
    assert f"Page block order: {guest.pageblock_order}\n" in text
    assert f"Pages per block:  {1 << guest.pageblock_order}\n" in text
    assert guest.pageblock_order <= guest.max_order


def test_hz_is_the_configured_one_where_the_kernel_shows_it(files: GuestFiles) -> None:
    hz = read_guest(files).hz
    assert hz in {None, 100, 250, 300, 1000}
    if CONFIG.exists():
        match = re.search(rb"^CONFIG_HZ=(\d+)$", gzip.decompress(CONFIG.read_bytes()), re.MULTILINE)
        assert match is not None
        assert hz == int(match[1])


def test_zones_manage_no_more_than_is_present(files: GuestFiles) -> None:
    zones = read_zones(files)
    assert zones
    for zone in zones:
        assert 0 < zone.managed <= zone.present <= zone.spanned, zone
        assert zone.min <= zone.low <= zone.high, zone
    for before, zone in itertools.pairwise(zones):
        assert before.node != zone.node or before.end_pfn <= zone.start_pfn, (before, zone)


def test_a_text_is_what_the_file_says_to_others(files: GuestFiles) -> None:
    for _ in range(3):
        first, middle, last = (
            Path("/proc/pagetypeinfo").read_text(),
            files.text("pagetypeinfo"),
            Path("/proc/pagetypeinfo").read_text(),
        )
        assert len(middle.splitlines()) == len(first.splitlines()) == len(last.splitlines())
        assert middle.splitlines()[:3] == first.splitlines()[:3]
    assert files.text("vmstat").split()[::2] == Path("/proc/vmstat").read_text().split()[::2]


def take(files: GuestFiles) -> tuple[Snapshot, Geometry, Frames]:
    guest = read_guest(files)
    taken, runs = snapshot.take("start", files, guest.pageblock_order)
    geometry = Geometry.of(guest, taken.zones)
    return taken, geometry, Frames.of(runs, geometry.frames)


def test_a_snapshot_decodes_into_the_blocks_of_buddyinfo(files: GuestFiles) -> None:
    # The machine lives on in the half second of a snapshot: the quietest of three tells.
    assert min(drifted_share(*take(files)) for _ in range(3)) <= 0.005


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


def test_a_snapshot_has_as_many_frames_as_are_managed(files: GuestFiles) -> None:
    taken, _, frames = take(files)
    for zone in taken.zones:
        there = int((frames.state[zone.start_pfn : zone.end_pfn] != FrameState.ABSENT).sum())
        print(f"{zone.name}: {there} frames, {zone.managed} managed, {there - zone.managed:+}")
        assert abs(there - zone.managed) <= 0.01 * zone.managed


def test_managed_memory_never_shrinks(files: GuestFiles) -> None:
    # It may grow: deferred initialisation goes on while the guest runs.
    earlier = take(files)[0].zones
    for before, now in zip(earlier, read_zones(files), strict=True):
        assert now.managed >= before.managed


@pytest.fixture(name="load")
def _load() -> Iterator[None]:
    with subprocess.Popen([*WORKLOAD, "1200"], stdout=subprocess.DEVNULL) as process:
        time.sleep(0.5)
        yield
        assert process.poll() is None
        process.kill()


def queued_s() -> float:
    """How long the threads of this process waited for a CPU so far."""
    files = Path("/proc/self/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[1]) for file in files) / 1e9


@pytest.mark.usefixtures("load")
def test_snapshots_and_draining_do_not_hinder_each_other_under_load(files: GuestFiles) -> None:
    """Snapshots stay whole, and so does each sample beside them; who drains is not kept waiting."""
    zones, order = read_zones(files), read_guest(files).pageblock_order
    sampler, waits, done = Sampler(files, zones), [], threading.Event()

    def drain() -> None:
        while not done.is_set():
            begin, queued = time.perf_counter(), queued_s()
            time.sleep(0.005)
            waits.append(time.perf_counter() - begin - 0.005 - (queued_s() - queued))
            sampler.sample(len(waits))

    snapshot.take("start", files, order)  # imports what it needs
    thread = threading.Thread(target=drain)
    thread.start()
    try:
        shots = [snapshot.take(f"resync-{k}", files, order) for k in range(3)]
    finally:
        done.set()
        thread.join()
    table, waits = sampler.take_table(), sorted(waits)
    print(f"{len(waits)} drains, waits {[f'{waits[k] * 1e3:.1f} ms' for k in (len(waits) // 2, -2, -1)]}")
    for shot, runs in shots:
        there = sum(run["count"] for run in runs.to_pylist() if run["state"] != FrameState.ABSENT)
        buddy = sum(run["count"] for run in runs.to_pylist() if run["state"] == FrameState.BUDDY)
        managed, free = sum(zone.managed for zone in shot.zones), sum(zone.free for zone in shot.zones)
        print(f"{there} of {managed} managed, {buddy} in the buddy, {free} free at the end")
        assert abs(there - managed) <= 0.01 * managed
        assert abs(buddy - free) <= 3 << 18  # what the workload holds at most
    assert sampler.failures == 0, sampler.first_failure
    assert table.num_rows == len(waits) * len(zones) > 100
    # What other processes took of the CPUs is subtracted; a rare long wait is left of that.
    assert waits[len(waits) * 95 // 100] < 0.02


def shown(name: str) -> dict[str, int]:
    """/proc/vmstat, read on its own."""
    lines = Path(f"/proc/{name}").read_text().splitlines()
    return {line.split()[0]: int(line.split()[1]) for line in lines}


def test_a_sample_agrees_with_what_proc_says_beside_it(files: GuestFiles) -> None:
    zones = read_zones(files)
    before, first = shown("vmstat"), read_zones(files)
    rows = [dict(zip(SAMPLE_COLUMNS, row, strict=True)) for row in samples.take(files, zones, 5)]
    last, after = read_zones(files), shown("vmstat")
    assert [row["zone"] for row in rows] == list(range(len(zones)))
    for row, one, other in zip(rows, first, last, strict=True):
        print(row, one, other)
        for name in ("managed", "min", "low", "high"):
            assert getattr(one, name) <= row[name] <= getattr(other, name), name
        free = sum(blocks << order for order, blocks in enumerate(row["free_blocks"]))
        assert abs(row["free"] - one.free) <= 0.01 * one.managed + abs(other.free - one.free)
        assert abs(free - row["free"]) <= 0.01 * one.managed
        assert 0 <= row["pcp"] <= row["managed"]
        assert row["boost"] in {one.boost, other.boost}
        assert 0 <= row["read_end_ns"] - row["read_begin_ns"] < 60_000_000_000  # who reads may have to wait
        for name in ("compact_stall", "compact_success", "compact_isolated"):
            assert before[name] <= row[name] <= after[name]
        for name in ("nr_file_pages", "nr_anon_pages", "nr_slab_reclaimable", "nr_slab_unreclaimable"):
            room = 2000 + abs(before[name] - after[name])
            assert abs(row[name] - before[name]) <= room, name
        assert row["lost_events"] == 5


def test_the_sum_over_the_per_cpu_lists_is_the_kernels(files: GuestFiles) -> None:
    def told() -> list[int]:
        blocks = re.split(r"(?m)^Node", Path("/proc/zoneinfo").read_text())
        found = [[int(n) for n in re.findall(r"(?m)^ +count: +(\d+)$", block)] for block in blocks]
        return [sum(counts) for counts in found if counts]

    def differs() -> int:
        before, rows, after = told(), samples.take(files, read_zones(files), 0), told()
        mine = [row[list(SAMPLE_COLUMNS).index("pcp")] for row in rows]
        assert len(before) == len(mine) == len(after)
        return sum(abs(m - a) for m, a in zip(mine, after, strict=True) if m not in before)

    assert min(differs() for _ in range(50)) == 0


def test_a_sample_costs_less_than_a_millisecond(files: GuestFiles) -> None:
    sampler, costs = Sampler(files, read_zones(files)), []
    for _ in range(10):
        time.sleep(0.1)  # as cold as it is once a second
        begin = time.thread_time()
        sampler.sample(0)
        costs.append(time.thread_time() - begin)
    print("CPU per sample", [f"{cost * 1e6:.0f} us" for cost in costs])
    assert sampler.failures == 0
    assert sorted(costs)[5] < 0.001


DROPPED = """
import json, os, sys
from tracer.guest import samples, snapshot
from tracer.guest.files import GuestFiles
from tracer.guest.procfs import read_zones
import pyarrow
said = {}
with GuestFiles() as files:
    zones = read_zones(files)
    child = os.fork()
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    said["uid"] = os.getuid()
    said["capabilities"] = [l.split()[1] for l in open("/proc/self/status") if l.startswith("CapEff")][0]
    try:
        open("/proc/kpageflags", "rb").close()
        said["opens"] = True
    except PermissionError:
        said["opens"] = False
    shot, runs = snapshot.take("resync-1", files, int(sys.argv[1]))
    said["buddy"] = sum(run["count"] for run in runs.to_pylist() if run["state"] == 1)
    said["free"] = [zone.free for zone in shot.zones]
    sampler = samples.Sampler(files, zones)
    sampler.sample(0)
    said["samples"], said["failure"] = sampler.take_table().num_rows, sampler.first_failure
    for name in ("pagetypeinfo", "timer_list"):
        said[name] = len(files.optional_text(name) or "")
    print(json.dumps(said), flush=True)
    os._exit(0)
"""


def test_files_that_root_opened_are_read_on_without_privileges(files: GuestFiles) -> None:
    guest, zones = read_guest(files), read_zones(files)
    command = [sys.executable, "-c", DROPPED, str(guest.pageblock_order)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    print(said)
    assert (said["uid"], int(said["capabilities"], 16), said["opens"]) == (65534, 0, False)
    # Without privileges some kernels answer with zeros: so the frames are compared, too.
    assert abs(said["buddy"] - sum(said["free"])) <= 0.02 * sum(zone.managed for zone in zones)
    assert (said["samples"], said["failure"]) == (len(zones), None)
    assert said["pagetypeinfo"] > 100
    assert (said["timer_list"] > 0) == ("timer_list" in files)
