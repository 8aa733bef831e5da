from typing import Any

import numpy as np
import pytest

from tracer.faults import ExitCode, Fault
from tracer.format import CHUNK_FRAMES, FRAME_COLUMNS, FrameState, Zone
from tracer.guest.snapshot import (
    BLANK,
    BUDDY,
    REPORTED,
    UNMANAGED,
    RawFrames,
    blank_runs,
    classify,
    compact,
    mark_limbo,
    read_frames,
    runs_table,
    take,
)

UPTODATE_FLAG, LRU_FLAG, BUDDY_FLAG, HWPOISON_FLAG, NOPAGE_FLAG, RESERVED_FLAG = (
    1 << bit for bit in (3, 5, 10, 19, 20, 32)
)
USED, FREE, LIMBO, ABSENT = FrameState.USED, FrameState.BUDDY, FrameState.LIMBO, FrameState.ABSENT
ORDER, PAGEBLOCK = 4, 16


def zone(start, spanned, managed=None, name="Normal") -> Any:
    return Zone(0, name, start, spanned, spanned, spanned if managed is None else managed, 0, 0, 0, 0, 0)


def bits_of(*runs) -> Any:
    """Frames from (count, bits) runs."""
    return np.concatenate([np.full(count, bits, np.uint8) for count, bits in runs])


def runs_of(state) -> Any:
    """[(count, state)], the reverse of `bits_of`."""
    edges = np.flatnonzero(np.diff(state)) + 1
    return [(len(part), FrameState(part[0])) for part in np.split(state, edges)]


def raw(bits) -> Any:
    chunks = -(-len(bits) // CHUNK_FRAMES)
    begin = np.arange(chunks, dtype=np.int64) * 10
    return RawFrames(bits, begin, begin + 5)


def flags_file(proc, words) -> None:
    (proc / "kpageflags").write_bytes(np.array(words, np.uint64).tobytes())


@pytest.mark.parametrize(
    ("flags", "bits"),
    [
        (0, BLANK),
        (LRU_FLAG | UPTODATE_FLAG, 0),  # up to date means reported only on a buddy page
        (BUDDY_FLAG, BUDDY),
        (BUDDY_FLAG | UPTODATE_FLAG, BUDDY | REPORTED),
        (NOPAGE_FLAG, UNMANAGED),
        (RESERVED_FLAG, UNMANAGED),
        (RESERVED_FLAG | LRU_FLAG, UNMANAGED),
        (HWPOISON_FLAG, 0),
    ],
)
def test_flags_are_compacted_to_what_matters(flags, bits):
    assert compact(np.array([flags], np.uint64)).tolist() == [bits]


def test_blank_runs_are_found_at_both_ends_and_between():
    bits = bits_of((3, BLANK), (1, BUDDY), (2, BLANK), (1, 0), (1, BLANK))
    starts, lengths = blank_runs(bits)
    assert list(zip(starts.tolist(), lengths.tolist(), strict=True)) == [(0, 3), (4, 2), (7, 1)]


@pytest.mark.parametrize("bits", [bits_of((4, 0)), np.empty(0, np.uint8)])
def test_no_blank_runs(bits):
    starts, lengths = blank_runs(bits)
    assert len(starts) == len(lengths) == 0


def test_all_blank_is_one_run():
    starts, lengths = blank_runs(bits_of((5, BLANK)))
    assert (starts.tolist(), lengths.tolist()) == ([0], [5])


def test_flags_tell_buddy_used_and_reserved():
    bits = bits_of((16, BUDDY), (16, BUDDY | REPORTED), (16, 0), (16, UNMANAGED))
    state = classify(bits, [zone(0, 64, 48)], ORDER)
    assert runs_of(state) == [(32, FREE), (16, USED), (16, ABSENT)]


def test_frames_outside_every_zone_are_absent():
    state = classify(bits_of((64, BUDDY)), [zone(16, 16), zone(48, 8, name="Movable")], ORDER)
    assert runs_of(state) == [(16, ABSENT), (16, FREE), (16, ABSENT), (8, FREE), (8, ABSENT)]


def test_a_zone_that_ends_past_the_frames_read_is_cut():
    assert runs_of(classify(bits_of((16, 0)), [zone(0, 64, 16)], ORDER)) == [(16, USED)]


def test_memory_not_initialised_yet_is_absent_and_other_blank_frames_are_used():
    bits = bits_of((16, 0), (64, BLANK), (16, 0), (16, BLANK))
    state = classify(bits, [zone(0, 112, managed=48)], ORDER)
    assert runs_of(state) == [(16, USED), (64, ABSENT), (32, USED)]


def test_the_longest_blank_runs_are_the_ones_not_managed():
    bits = bits_of((16, BLANK), (4, 0), (48, BLANK), (4, 0), (32, BLANK))
    state = classify(bits, [zone(0, 104, managed=24)], ORDER)
    assert runs_of(state) == [(20, USED), (48, ABSENT), (4, USED), (32, ABSENT)]


def test_all_blank_frames_are_used_where_all_memory_is_managed():
    assert runs_of(classify(bits_of((64, BLANK)), [zone(0, 64)], ORDER)) == [(64, USED)]


def test_a_blank_run_that_is_not_mostly_surplus_stays_used():
    bits = bits_of((64, BLANK), (64, 0))
    assert runs_of(classify(bits, [zone(0, 128, managed=96)], ORDER)) == [(128, USED)]
    assert runs_of(classify(bits, [zone(0, 128, managed=95)], ORDER)) == [(64, ABSENT), (64, USED)]


def test_a_blank_run_shorter_than_a_pageblock_is_never_absent():
    bits = bits_of((PAGEBLOCK - 1, BLANK), (49, 0))
    assert runs_of(classify(bits, [zone(0, 64, managed=49)], ORDER)) == [(64, USED)]


def test_each_zone_has_its_own_surplus():
    bits = bits_of((32, BLANK), (32, BLANK))
    state = classify(bits, [zone(0, 32, managed=32), zone(32, 32, managed=1, name="Movable")], ORDER)
    assert runs_of(state) == [(32, USED), (32, ABSENT)]


@pytest.fixture
def naps(monkeypatch) -> Any:
    """What happens during the n-th pause of `mark_limbo`, instead of waiting."""
    slept: list[float] = []
    todo: dict[Any, Any] = {}

    def sleep(seconds) -> None:
        slept.append(seconds)
        todo.get(len(slept), lambda: None)()

    monkeypatch.setattr("tracer.guest.snapshot.time.sleep", sleep)
    todo["slept"] = slept
    return todo


def limbo_case(*runs) -> Any:
    bits = bits_of(*runs)
    return bits, classify(bits, [zone(0, len(bits))], ORDER)


def test_a_blank_pageblock_that_comes_back_was_in_limbo(tmp_path, naps):
    bits, state = limbo_case((PAGEBLOCK, BLANK), (PAGEBLOCK, BLANK), (PAGEBLOCK, 0))
    words = [0] * len(bits)
    flags_file(tmp_path, words)

    def put_back() -> None:
        words[PAGEBLOCK] = BUDDY_FLAG | UPTODATE_FLAG
        flags_file(tmp_path, words)

    naps[3] = put_back
    mark_limbo(state, bits, ORDER, tmp_path)
    assert runs_of(state) == [(PAGEBLOCK, USED), (PAGEBLOCK, LIMBO), (PAGEBLOCK, USED)]
    assert len(naps["slept"]) == 10  # the other one is waited for to the end


def test_waiting_ends_when_all_came_back(tmp_path, naps):
    bits, state = limbo_case(
        (PAGEBLOCK, BLANK),
    )
    flags_file(tmp_path, [BUDDY_FLAG] * PAGEBLOCK)
    mark_limbo(state, bits, ORDER, tmp_path)
    assert runs_of(state) == [(PAGEBLOCK, LIMBO)]
    assert len(naps["slept"]) == 1


def test_no_blank_pageblock_means_no_waiting(tmp_path, naps):
    bits, state = limbo_case((PAGEBLOCK - 1, BLANK), (PAGEBLOCK + 1, 0), (PAGEBLOCK, BUDDY))
    flags_file(tmp_path, [BUDDY_FLAG] * len(bits))
    before = state.copy()
    mark_limbo(state, bits, ORDER, tmp_path)
    assert (state == before).all()
    assert naps["slept"] == []


def test_a_pageblock_that_is_absent_is_not_in_limbo(tmp_path, naps):
    bits = bits_of((PAGEBLOCK, BLANK), (PAGEBLOCK, 0))
    state = classify(bits, [zone(0, 2 * PAGEBLOCK, managed=PAGEBLOCK)], ORDER)
    flags_file(tmp_path, [BUDDY_FLAG] * len(bits))
    mark_limbo(state, bits, ORDER, tmp_path)
    assert runs_of(state) == [(PAGEBLOCK, ABSENT), (PAGEBLOCK, USED)]
    assert naps["slept"] == []


def test_blank_frames_that_are_not_an_aligned_pageblock_stay_used(tmp_path, naps):
    bits, state = limbo_case((PAGEBLOCK // 2, 0), (PAGEBLOCK, BLANK), (PAGEBLOCK // 2, 0), (3, BLANK))
    flags_file(tmp_path, [BUDDY_FLAG] * len(bits))
    mark_limbo(state, bits, ORDER, tmp_path)
    assert runs_of(state) == [(len(bits), USED)]
    assert naps["slept"] == []


def test_frames_past_the_end_of_the_file_have_no_page(tmp_path):
    flags_file(tmp_path, [BUDDY_FLAG] * (CHUNK_FRAMES + 100))
    frames = read_frames(2 * CHUNK_FRAMES + 1, tmp_path)
    expected = bits_of((CHUNK_FRAMES + 100, BUDDY), (2 * CHUNK_FRAMES - 100, UNMANAGED))
    assert (frames.bits == expected).all()


def test_each_chunk_has_the_instants_around_its_read(tmp_path):
    flags_file(tmp_path, [0] * 3 * CHUNK_FRAMES)
    frames = read_frames(3 * CHUNK_FRAMES, tmp_path)
    assert len(frames.begin_ns) == len(frames.end_ns) == 3
    assert (frames.begin_ns <= frames.end_ns).all()
    assert (frames.end_ns[:-1] <= frames.begin_ns[1:]).all()


def test_flags_that_cannot_be_read_are_a_fault_of_the_machine(tmp_path):
    with pytest.raises(Fault) as caught:
        read_frames(1, tmp_path)
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert "errno 2" in caught.value.how
    assert len(str(caught.value).splitlines()) == 3


def table_rows(state, bits) -> Any:
    return runs_table(np.array(state, np.uint8), raw(bits)).to_pylist()


def test_runs_have_the_columns_of_the_format():
    table = runs_table(np.zeros(CHUNK_FRAMES, np.uint8), raw(np.zeros(CHUNK_FRAMES, np.uint8)))
    assert {field.name: str(field.type) for field in table.schema} == FRAME_COLUMNS


def test_a_run_never_crosses_a_chunk_and_has_its_chunks_instants():
    bits = np.zeros(2 * CHUNK_FRAMES, np.uint8)
    rows = table_rows(np.full(2 * CHUNK_FRAMES, FREE), bits)
    assert [(row["pfn"], row["count"]) for row in rows] == [(0, CHUNK_FRAMES), (CHUNK_FRAMES, CHUNK_FRAMES)]
    assert [(row["read_begin_ns"], row["read_ts_ns"]) for row in rows] == [(0, 5), (10, 15)]


def test_a_reported_head_starts_a_run_of_the_same_state():
    bits = bits_of((512, BUDDY), (1, BUDDY | REPORTED), (511, BUDDY), (1, BUDDY | REPORTED), (3071, BUDDY))
    rows = table_rows(np.full(CHUNK_FRAMES, FREE), bits)
    assert [(row["pfn"], row["count"], row["reported_head"]) for row in rows] == [
        (0, 512, False),
        (512, 512, True),
        (1024, 3072, True),
    ]


def test_runs_decode_to_what_they_were_made_of():
    rng = np.random.default_rng(1)
    state = np.repeat(rng.integers(0, 4, 300), rng.integers(1, 90, 300))[: 2 * CHUNK_FRAMES].astype(np.uint8)
    assert len(state) == 2 * CHUNK_FRAMES
    runs = runs_table(state, raw(np.zeros(len(state), np.uint8)))
    assert (np.repeat(runs["state"], runs["count"]) == state).all()
    assert (np.cumsum(runs["count"]) - runs["count"] == runs["pfn"].to_numpy()).all()


ZONEINFO = """\
Node 0, zone   Normal
  pages free     512
        boost    0
        min      1
        low      2
        high     3
        spanned  4096
        present  4096
        managed  4096
  start_pfn:           4096
Node 0, zone  Movable
  pages free     0
        min      0
        low      0
        high     0
        spanned  0
        present  0
        managed  0
"""


def test_a_snapshot_tells_all_frames_and_the_counts_of_populated_zones(tmp_path):
    (tmp_path / "zoneinfo").write_text(ZONEINFO)
    (tmp_path / "buddyinfo").write_text("Node 0, zone   Normal 0 1\nNode 0, zone  Movable 0 0\n")
    words = [NOPAGE_FLAG] * 4096 + [LRU_FLAG] * 3584 + [BUDDY_FLAG] * 512
    flags_file(tmp_path, words)
    shot, runs = take("start", 9, tmp_path)
    assert [zone.name for zone in shot.zones] == ["Normal"]
    assert [(info.zone, info.blocks) for info in shot.buddyinfo] == [("Normal", [0, 1])]
    assert shot.begin_ns <= runs["read_begin_ns"][0].as_py() <= runs["read_ts_ns"][-1].as_py() <= shot.end_ns
    assert [(row["count"], row["state"]) for row in runs.to_pylist()] == [
        (4096, ABSENT),
        (3584, USED),
        (512, FREE),
    ]
