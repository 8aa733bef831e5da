"""Memory that appears while it is recorded: deferred initialisation, where this machine still has some."""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from replay import Replay, Verdict, replay, run, validate
from replay.buddy.frames import Frames
from replay.buddy.ops import Meaning, meaning_of
from replay.geometry import Geometry
from tests.live.running import pagetide
from tracer import FrameState, Op, Trace, open_trace
from tracer.guest.files import GuestFiles
from tracer.guest.procfs import read_zones

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROWING = [sys.executable, str(Path(__file__).parent / "growing.py")]
PAGE = os.sysconf("SC_PAGE_SIZE")
# The zones must run dry before the kernel initialises more, and others need memory meanwhile.
ROOM_MIB = 3072


@pytest.fixture(scope="module")
def recorded(live: None, tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """A program that takes memory until there is more of it."""
    with GuestFiles() as files:
        zones = read_zones(files)
        meminfo = Path("/proc/meminfo").read_text()
    to_come = sum(zone.present - zone.managed for zone in zones) * PAGE >> 20
    free_mib = sum(zone.free for zone in zones) * PAGE >> 20
    available = re.search(r"MemAvailable: +(\d+)", meminfo)
    available_mib = int(available[1]) >> 10 if available else 0
    if to_come < 1024:
        pytest.skip(f"all memory of this machine is managed but {to_come} MiB: none can appear")
    if available_mib < free_mib + ROOM_MIB:
        pytest.skip(
            f"{available_mib} MiB are available, {free_mib} MiB have to be taken and others need some"
        )
    path = tmp_path_factory.mktemp("growing") / "a.trace"
    done = pagetide("record", path, "--", *GROWING, free_mib + ROOM_MIB // 2)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return open_trace(path)


@pytest.fixture(scope="module")
def grown(recorded: Trace) -> int:
    """Frames that the kernel says it manages more at the end than at the start."""
    first, *_, last = recorded.manifest.snapshots
    return sum(zone.managed for zone in last.zones) - sum(zone.managed for zone in first.zones)


@pytest.fixture(scope="module")
def new(recorded: Trace) -> "NDArray[Any]":
    """Events by which frames that were absent at the start enter the buddy, each frame's first."""
    geometry = Geometry.of(recorded.manifest.guest, recorded.zones)
    absent = Frames.of(recorded.frames("start"), geometry.frames).state == FrameState.ABSENT
    found, meaning = [], meaning_of(recorded)
    for batch in recorded.batches(["ts_ns", "op", "pfn", "order"]):
        rows = np.rec.fromarrays([column.to_numpy() for column in batch.columns], names="ts_ns,op,pfn,order")
        for row in rows[(meaning[rows.op, rows.order] == Meaning.ENTER) & absent[rows.pfn.astype(np.int64)]]:
            block = slice(int(row.pfn), int(row.pfn) + (1 << int(row.order)))
            if absent[block].any():
                assert absent[block].all(), row
                absent[block] = False
                found.append(row.tolist())
    return np.rec.array(found, dtype=rows.dtype)


def test_frames_appear_as_large_free_blocks_exactly_as_many_as_are_managed_more(
    recorded: Trace, grown: int, new: "NDArray[Any]"
) -> None:
    orders, counts = np.unique(new["order"], return_counts=True)
    print(
        f"{grown} frames more, by blocks of order", dict(zip(orders.tolist(), counts.tolist(), strict=True))
    )
    assert grown > 0
    assert int((1 << new["order"].astype(np.int64)).sum()) == grown
    assert (new["op"] == Op.PAGE_FREE).all()
    assert (new["order"] == recorded.manifest.guest.max_order).all()


def test_samples_tell_the_growth(recorded: Trace, grown: int) -> None:
    by_time: dict[int, int] = {}
    for row in recorded.samples.select(["read_begin_ns", "managed"]).to_pylist():
        by_time[row["read_begin_ns"]] = by_time.get(row["read_begin_ns"], 0) + row["managed"]
    managed_then = [count for _, count in sorted(by_time.items())]
    assert managed_then == sorted(managed_then)
    assert managed_then[-1] - managed_then[0] == grown


@pytest.fixture(scope="module")
def replayed(recorded: Trace) -> Replay:
    return replay(recorded, ["never", "upstream", "oracle"])


def test_a_replay_manages_what_appears_from_then_on(replayed: Replay, grown: int) -> None:
    for result in replayed.results:
        managed = result.timeline["managed_bytes"].to_numpy()
        assert (np.diff(managed) >= 0).all()
        assert managed[-1] - managed[0] == grown * PAGE


def test_what_nobody_used_yet_is_neither_reclaimed_nor_a_sample(recorded: Trace, new: "NDArray[Any]") -> None:
    """The host has no memory for it: a report of it is redundant, until a frame of the block is used."""
    reports = run(recorded, "upstream", delay="10ms").reports
    start_ns, untouched = recorded.span_ns[0], 0
    used_ns = first_exits(recorded, new)
    for row in reports.iter_rows(named=True):
        block_ns = [used_ns[p] for p in range(row["pfn"], row["pfn"] + (1 << row["order"])) if p in used_ns]
        if len(block_ns) == 1 << row["order"] and start_ns + row["done_s"] * 1e9 < min(block_ns):
            untouched += 1
            assert row["new_bytes"] == 0, row
    print(f"{untouched} of {len(reports)} reports were of new blocks that nobody had used yet")
    assert untouched


def first_exits(trace: Trace, new: "NDArray[Any]") -> dict[int, float]:
    """Of each new frame: when it left the buddy first, ns."""
    frames = {
        p: float("inf") for row in new for p in range(int(row.pfn), int(row.pfn) + (1 << int(row.order)))
    }
    first, end, meaning = min(frames), max(frames) + 1, meaning_of(trace)
    for batch in trace.batches(["ts_ns", "op", "pfn", "order"]):
        ts_ns, op, pfn, order = (column.to_numpy() for column in batch.columns)
        leaves = (meaning[op, order] == Meaning.EXIT) | (meaning[op, order] == Meaning.FALLBACK)
        for at in np.flatnonzero(leaves & (first <= pfn) & (pfn < end)):
            for frame in range(int(pfn[at]), int(pfn[at]) + (1 << int(order[at]))):
                frames[frame] = min(frames.get(frame, 0), float(ts_ns[at]))
    return frames


def test_the_model_is_right_about_memory_that_appeared(recorded: Trace) -> None:
    verdict: Verdict = validate(recorded)
    print(verdict.fidelity)
    assert verdict.fidelity["outside"] == verdict.fidelity["unknown_ops"] == 0
    assert verdict.wrong_share <= 0.005
    assert verdict.impossible_share <= 0.0005
    for zone in verdict.orders:
        print(zone)
