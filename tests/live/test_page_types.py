"""Free blocks by migratetype beside the first and the last snapshot of a real recording."""

import time

import numpy as np
import pytest

from replay.buddy.ops import Meaning, meaning_of
from tests.live.running import TIMEOUT_S, WORKLOAD, manifest_of, started, wait_for_start, wait_until
from tracer import Op, Snapshot, Trace, open_trace
from tracer.guest.files import GuestFiles
from tracer.guest.pagetypes import read_page_types
from tracer.guest.procfs import read_guest

# Blocks that move without an event within these milliseconds: the guest's own reporting holds some, and a
# whole refill of 63 pages may go unseen.
UNSEEN_BLOCKS = 128


@pytest.fixture(scope="module")
def recorded(live: None, tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Some seconds of the workload, with a snapshot in between."""
    path = tmp_path_factory.mktemp("types") / "a.trace"
    enough = path.with_suffix(".enough")
    with started("record", path, "--resync", "5s", "--", *WORKLOAD, 5, enough) as recorder:
        wait_for_start(path)
        wait_until(lambda: len(manifest_of(path)["snapshots"]) > 1, recorder)
        enough.touch()
        _, err = recorder.communicate(timeout=TIMEOUT_S)
    assert recorder.returncode == 0, err
    return open_trace(path)


def test_page_types_are_in_the_first_and_the_last_snapshot_only(recorded: Trace) -> None:
    shots = recorded.manifest.snapshots
    assert len(shots) >= 3
    assert [bool(shot.page_types) for shot in shots] == [True] + [False] * (len(shots) - 2) + [True]
    assert not [note for note in recorded.manifest.notes if "page types" in note]


@pytest.mark.parametrize("name", ["start", "end"])
def test_free_blocks_of_all_types_are_those_of_buddyinfo(recorded: Trace, name: str) -> None:
    """Each step of the buddy changes an order's blocks by one at most: so far they may differ."""
    shot = recorded.manifest.snapshot(name)
    assert shot
    infos = {(info.node, info.zone): info for info in shot.buddyinfo}
    assert len(infos) == len(shot.page_types)
    for types in shot.page_types:
        info = infos[types.node, types.zone]
        told = np.array(types.free_blocks).sum(axis=0)
        bound = UNSEEN_BLOCKS + steps_within(
            recorded, shot, types.zone, info.read_begin_ns, types.read_end_ns
        )
        print(name, types.zone, told.tolist(), info.blocks, "at most", bound)
        whole = np.ones(len(told), bool)
        whole[[order for _, order in types.cut_off]] = False
        assert (np.abs(told - info.blocks) <= bound)[whole].all()
        assert (told <= np.array(info.blocks) + bound).all()


def steps_within(trace: Trace, shot: Snapshot, zone_name: str, begin_ns: int, end_ns: int) -> int:
    """Events of a zone in between that are a step of the buddy, or the free of a single page that may be
    one (past the per-CPU lists).
    """
    meaning = meaning_of(trace)
    spans = [(zone.start_pfn, zone.end_pfn) for zone in shot.zones if zone.name == zone_name]
    steps = 0
    for batch in trace.batches(["ts_ns", "op", "pfn", "order"]):
        ts_ns, op, pfn, order = (column.to_numpy() for column in batch.columns)
        inside = (begin_ns <= ts_ns) & (ts_ns <= end_ns)
        inside &= (meaning[op, order] != Meaning.NOTHING) | (op == Op.PAGE_FREE)
        steps += sum(int((inside & (first <= pfn) & (pfn < end)).sum()) for first, end in spans)
    return steps


def test_their_pageblocks_cover_what_is_managed(recorded: Trace) -> None:
    guest, shot = recorded.manifest.guest, recorded.manifest.snapshot("end")
    assert shot
    zones = {(zone.node, zone.name): zone for zone in shot.zones}
    for types in shot.page_types:
        zone = zones[types.node, types.zone]
        covered = sum(types.pageblocks) << guest.pageblock_order
        print(types.zone, covered, zone.managed, zone.present, zone.spanned)
        assert zone.managed <= covered <= zone.spanned + (1 << guest.pageblock_order)


def test_the_read_is_bounded_in_cost(live: None) -> None:
    """Some milliseconds a recording: twice. (A list is walked to 100,000 blocks at most.)"""
    with GuestFiles() as files:
        names, took_ms = read_guest(files).migratetypes, []
        for _ in range(5):
            begin_ns = time.thread_time_ns()
            zones = read_page_types(files, names)
            took_ms.append((time.thread_time_ns() - begin_ns) / 1e6)
    blocks = sum(int(np.array(zone.free_blocks).sum()) for zone in zones)
    print(f"{blocks} free blocks in {[f'{ms:.1f}' for ms in took_ms]} ms")
    assert min(took_ms) <= 50 + blocks / 1000  # a microsecond a block
