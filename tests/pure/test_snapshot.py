import tracemalloc
from typing import Any

import numpy as np
import pytest

from tests.pure.proc_texts import guest_files, put
from tracer.faults import ExitCode, Fault
from tracer.format import CHUNK_FRAMES, FRAME_COLUMNS, Filters, FrameState, PageTypes, Zone
from tracer.guest.snapshot import (
    BLANK,
    BUDDY,
    REPORTED,
    UNMANAGED,
    RawFrames,
    blank_pageblocks,
    blank_runs,
    classify,
    compact,
    kept_spans,
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


@pytest.fixture
def files(tmp_path) -> Any:
    """An empty kpageflags, to be filled with `flags_file`, and one zone of 4096 frames."""
    with guest_files(tmp_path, zoneinfo=ZONEINFO, buddyinfo=BUDDYINFO) as opened:
        yield opened


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


def test_a_blank_pageblock_that_comes_back_was_in_limbo(tmp_path, naps, files):
    bits, state = limbo_case((PAGEBLOCK, BLANK), (PAGEBLOCK, BLANK), (PAGEBLOCK, 0))
    words = [0] * len(bits)
    flags_file(tmp_path, words)

    def put_back() -> None:
        words[PAGEBLOCK] = BUDDY_FLAG | UPTODATE_FLAG
        flags_file(tmp_path, words)

    naps[3] = put_back
    mark_limbo(state, bits, ORDER, files)
    assert runs_of(state) == [(PAGEBLOCK, USED), (PAGEBLOCK, LIMBO), (PAGEBLOCK, USED)]
    assert len(naps["slept"]) == 10  # the other one is waited for to the end


def test_waiting_ends_when_all_came_back(tmp_path, naps, files):
    bits, state = limbo_case(
        (PAGEBLOCK, BLANK),
    )
    flags_file(tmp_path, [BUDDY_FLAG] * PAGEBLOCK)
    mark_limbo(state, bits, ORDER, files)
    assert runs_of(state) == [(PAGEBLOCK, LIMBO)]
    assert len(naps["slept"]) == 1


def test_no_blank_pageblock_means_no_waiting(tmp_path, naps, files):
    bits, state = limbo_case((PAGEBLOCK - 1, BLANK), (PAGEBLOCK + 1, 0), (PAGEBLOCK, BUDDY))
    flags_file(tmp_path, [BUDDY_FLAG] * len(bits))
    before = state.copy()
    mark_limbo(state, bits, ORDER, files)
    assert (state == before).all()
    assert naps["slept"] == []


def test_a_pageblock_that_is_absent_is_not_in_limbo(tmp_path, naps, files):
    bits = bits_of((PAGEBLOCK, BLANK), (PAGEBLOCK, 0))
    state = classify(bits, [zone(0, 2 * PAGEBLOCK, managed=PAGEBLOCK)], ORDER)
    flags_file(tmp_path, [BUDDY_FLAG] * len(bits))
    mark_limbo(state, bits, ORDER, files)
    assert runs_of(state) == [(PAGEBLOCK, ABSENT), (PAGEBLOCK, USED)]
    assert naps["slept"] == []


def test_blank_frames_that_are_not_an_aligned_pageblock_stay_used(tmp_path, naps, files):
    bits, state = limbo_case((PAGEBLOCK // 2, 0), (PAGEBLOCK, BLANK), (PAGEBLOCK // 2, 0), (3, BLANK))
    flags_file(tmp_path, [BUDDY_FLAG] * len(bits))
    mark_limbo(state, bits, ORDER, files)
    assert runs_of(state) == [(len(bits), USED)]
    assert naps["slept"] == []


def test_frames_past_the_end_of_the_file_have_no_page(tmp_path, files):
    flags_file(tmp_path, [BUDDY_FLAG] * (CHUNK_FRAMES + 100))
    frames = read_frames(files, 2 * CHUNK_FRAMES + 1)
    expected = bits_of((CHUNK_FRAMES + 100, BUDDY), (2 * CHUNK_FRAMES - 100, UNMANAGED))
    assert (frames.bits == expected).all()


def test_each_chunk_has_the_instants_around_its_read(tmp_path, files):
    flags_file(tmp_path, [0] * 3 * CHUNK_FRAMES)
    frames = read_frames(files, 3 * CHUNK_FRAMES)
    assert len(frames.begin_ns) == len(frames.end_ns) == 3
    assert (frames.begin_ns <= frames.end_ns).all()
    assert (frames.end_ns[:-1] <= frames.begin_ns[1:]).all()


def test_chunks_without_a_wanted_frame_are_not_read(tmp_path, files, monkeypatch):
    flags_file(tmp_path, [BUDDY_FLAG] * 4 * CHUNK_FRAMES)
    asked, really = [], files.read_flags

    def read_flags(pfn, count) -> Any:
        asked.append((pfn, count))
        return really(pfn, count)

    monkeypatch.setattr(files, "read_flags", read_flags)
    frames = read_frames(files, 4 * CHUNK_FRAMES, [slice(CHUNK_FRAMES - 1, 2 * CHUNK_FRAMES)])
    assert [pfn for pfn, count in asked if count] == [0, CHUNK_FRAMES]
    assert runs_of(frames.bits == BUDDY) == [(2 * CHUNK_FRAMES, 1), (2 * CHUNK_FRAMES, 0)]
    assert (frames.begin_ns <= frames.end_ns).all()


def test_flags_that_say_nothing_are_a_fault_of_the_machine(files):
    with pytest.raises(Fault) as caught:
        read_frames(files, 1)
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert "kpageflags" in caught.value.how
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


def test_runs_are_the_same_however_they_are_cut_in_steps(monkeypatch):
    rng = np.random.default_rng(2)
    bits = np.repeat(rng.choice([0, BUDDY, BLANK, UNMANAGED], 4000), rng.integers(1, 40, 4000))
    bits = bits[: 12 * CHUNK_FRAMES].astype(np.uint8)
    bits[rng.integers(0, len(bits), 50)] = BUDDY | REPORTED
    zones = [zone(100, 30_000, 20_000), zone(30_100, 15_000, 9_000, "Movable")]

    def all_of_it() -> Any:
        state = classify(bits, zones, ORDER)
        return (
            runs_table(state, raw(bits)).to_pylist(),
            np.stack(blank_runs(bits, 3), axis=1).tolist(),
            blank_pageblocks(state, bits, ORDER).tolist(),
        )

    whole = all_of_it()
    monkeypatch.setattr("tracer.guest.snapshot._STEP_FRAMES", CHUNK_FRAMES)
    assert all_of_it() == whole
    assert all(len(part) > 10 for part in whole)


def test_blank_runs_go_on_from_step_to_step(monkeypatch):
    monkeypatch.setattr("tracer.guest.snapshot._STEP_FRAMES", 4)
    bits = bits_of((2, 0), (9, BLANK), (1, 0), (4, BLANK), (1, 0), (3, BLANK))
    assert [found.tolist() for found in blank_runs(bits)] == [[2, 12, 17], [9, 4, 3]]
    assert [found.tolist() for found in blank_runs(bits, 4)] == [[2, 12], [9, 4]]


def test_a_large_guest_takes_four_bytes_a_frame_at_most(files, monkeypatch):
    frames = 1 << 23  # 32 GiB
    words = np.array([BUDDY_FLAG] * 1024 + [LRU_FLAG] * 512 + [0] * 512, np.uint64)
    chunk = np.tile(words, CHUNK_FRAMES // len(words))
    monkeypatch.setattr(files, "read_flags", lambda _pfn, count: chunk[:count])
    monkeypatch.setattr("tracer.guest.snapshot.time.sleep", lambda _seconds: None)
    text = ZONEINFO.replace("4096\n", f"{frames}\n", 3)
    monkeypatch.setattr(files, "text", lambda name: {"zoneinfo": text, "buddyinfo": BUDDYINFO}[name])
    tracemalloc.start()
    try:
        _, runs = take("start", files, 9)
        peak = tracemalloc.get_traced_memory()[1] + runs.nbytes
    finally:
        tracemalloc.stop()
    assert runs["count"].to_numpy().sum() == frames + CHUNK_FRAMES
    assert peak < 4 * frames


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
BUDDYINFO = "Node 0, zone   Normal 0 1\nNode 0, zone  Movable 0 0\n"
WORDS = [NOPAGE_FLAG] * 4096 + [LRU_FLAG] * 3584 + [BUDDY_FLAG] * 512


def taken(files, filters=None) -> Any:
    shot, runs = take("start", files, 9, filters)
    return shot, [(row["count"], row["state"]) for row in runs.to_pylist()], runs


def test_a_snapshot_tells_all_frames_and_the_counts_of_populated_zones(tmp_path, files):
    flags_file(tmp_path, WORDS)
    shot, rows, runs = taken(files)
    assert [zone.name for zone in shot.zones] == ["Normal"]
    assert [(info.zone, info.blocks) for info in shot.buddyinfo] == [("Normal", [0, 1])]
    assert shot.begin_ns <= runs["read_begin_ns"][0].as_py() <= runs["read_ts_ns"][-1].as_py() <= shot.end_ns
    assert rows == [(4096, ABSENT), (3584, USED), (512, FREE)]


def test_snapshots_are_taken_again_and_again_from_the_same_files(tmp_path, files):
    flags_file(tmp_path, WORDS)
    first = taken(files)[1]
    flags_file(tmp_path, WORDS[:4096] + [BUDDY_FLAG] * 512 + [LRU_FLAG] * 3584)
    assert taken(files)[1] == [(4096, ABSENT), (512, FREE), (3584, USED)]
    flags_file(tmp_path, WORDS)
    assert taken(files)[1] == first


def test_a_snapshot_is_of_no_use_once_its_files_cannot_be_read(tmp_path, files):
    flags_file(tmp_path, WORDS)
    taken(files)
    files.close()
    with pytest.raises(Fault) as caught:
        taken(files)
    assert caught.value.code == ExitCode.ENVIRONMENT


def test_frames_of_zones_that_are_filtered_out_are_absent_and_not_in_it(tmp_path, files):
    flags_file(tmp_path, WORDS)
    assert taken(files, Filters(zones=["Normal"]))[1] == taken(files)[1]
    assert taken(files, Filters(orders=[2, 9]))[1] == taken(files)[1]
    shot, rows, _ = taken(files, Filters(zones=["DMA"]))
    assert rows == [(4096, ABSENT), (4096, ABSENT)]
    assert (shot.zones, shot.buddyinfo) == ([], [])


def test_page_types_of_the_zones_that_are_kept_are_in_it(tmp_path, files):
    flags_file(tmp_path, WORDS)
    told = [
        PageTypes(node, name, [], [], [], 1, 2) for node, name in ((0, "Normal"), (0, "DMA"), (1, "Normal"))
    ]
    assert take("end", files, 9, None, lambda: told)[0].page_types == told[:1]
    assert take("end", files, 9, Filters(zones=["DMA"]), lambda: told)[0].page_types == []
    assert take("end", files, 9)[0].page_types == []


def test_frames_outside_the_pfns_kept_are_absent_and_head_nothing(tmp_path, files):
    words = list(WORDS)
    words[8000] = words[7700] = BUDDY_FLAG | UPTODATE_FLAG
    flags_file(tmp_path, words)
    _, rows, runs = taken(files, Filters(pfns=[7600, 7900]))
    assert rows == [(4096, ABSENT), (3504, ABSENT), (80, USED), (20, FREE), (200, FREE), (292, ABSENT)]
    assert runs["pfn"].to_pylist()[4] == 7700
    assert runs["reported_head"].to_pylist() == [False] * 4 + [True, False]


def test_pfns_are_kept_within_the_zones_kept_only():
    zones = [zone(16, 16), zone(48, 8, name="Movable")]
    assert kept_spans(zones, None) == [slice(16, 32), slice(48, 56)]
    assert kept_spans(zones, Filters(pfns=[20, 50])) == [slice(20, 32), slice(48, 50)]
    assert kept_spans(zones, Filters(pfns=[20, 50], zones=["Movable"])) == [slice(48, 50)]
    assert kept_spans(zones, Filters(pfns=[32, 48])) == []


def test_a_zone_kept_in_part_has_the_same_frames_there_as_a_whole_one(tmp_path, files):
    words = [NOPAGE_FLAG] * 4096 + [0] * 2048 + [LRU_FLAG] * 1536 + [BUDDY_FLAG] * 512
    flags_file(tmp_path, words)
    put(tmp_path, {"zoneinfo": ZONEINFO.replace("managed  4096", "managed  2048")})
    _, rows, _ = taken(files, Filters(pfns=[4096, 7000]))
    assert rows == [(4096, ABSENT), (2048, ABSENT), (856, USED), (1192, ABSENT)]


def test_what_is_managed_is_told_from_the_whole_zone_where_a_part_is_kept(tmp_path, files):
    flags_file(tmp_path, [NOPAGE_FLAG] * 4096 + [0] * 4096 + [LRU_FLAG] * 4096)
    text = ZONEINFO.replace("spanned  4096", "spanned  8192").replace("present  4096", "present  8192")
    put(tmp_path, {"zoneinfo": text})
    # As much is managed as the half that is not kept: only who reads that one, too, knows which.
    assert taken(files, Filters(pfns=[4096, 8192]))[1] == [(4096, ABSENT)] * 3
    assert taken(files)[1] == [(4096, ABSENT), (4096, ABSENT), (4096, USED)]
