"""The benchmark of what a unit of work costs: its arithmetic by hand, and one small round of it."""

import mmap

import pytest

from benchmarks.host_costs import Region, Row, constants, figures, huge_region, measure, number

SMALL = "4 KiB pages"
GUEST = {
    "entry of a free list visited": 100.0,
    "block isolated and put back": 200.0,
    "list rotated": 3.0,
    "lock taken and let go": 2.0,
    "hint captured": 5.0,
    "bit of a map looked at": 0.01,
}
HOST = {
    "MADV_DONTNEED of 4 KiB that was 4 KiB pages": 500.0,
    "MADV_DONTNEED of 4 MiB, 4 KiB pages": 500 + 0.0625 * (4 << 20),
    "MADV_FREE of 4 MiB, 4 KiB pages": 500 + 0.03125 * (4 << 20),
    "fault of a page, 4 KiB pages": 1_000 + 0.125 * 4096,
}
THP = {
    "MADV_DONTNEED of 4 MiB, THP": 500 + 0.0078125 * (4 << 20),
    "MADV_FREE of 4 MiB, THP": 500 + 0.00390625 * (4 << 20),
    "fault of a page, THP": 1_000 + 0.125 * (2 << 20),
}


def rows(*parts: dict[str, float]) -> dict[str, Row]:
    return {name: Row(ns, ns, ns) for part in parts for name, ns in part.items()}


def test_constants_are_what_the_steps_were_made_of():
    told = constants(rows(GUEST, HOST, THP))
    assert told == pytest.approx(
        {
            "call_ns": 500,
            "dontneed_byte_ns": 0.0625,
            "dontneed_huge_byte_ns": 0.0078125,
            "free_byte_ns": 0.03125,
            "free_huge_byte_ns": 0.00390625,
            "zero_byte_ns": 0.125,
            "refault_ns": 1_000,
            "entry_ns": 100,
            "bit_ns": 0.01,
            "lock_ns": 2,
            "hint_ns": 5,
            "move_ns": 200,
            "rotation_ns": 3,
        }
    )


def test_without_huge_pages_their_constants_are_missing_and_the_others_the_same():
    whole, part = constants(rows(GUEST, HOST, THP)), constants(rows(GUEST, HOST))
    assert whole.keys() - part.keys() == {
        "dontneed_huge_byte_ns",
        "free_huge_byte_ns",
        "zero_byte_ns",
        "refault_ns",
    }
    assert part.items() <= whole.items()


def test_a_row_is_of_the_rounds_that_could_take_the_step():
    told = figures([{"a": 3.0}, {"a": 1.0, "b": 9.0}, {"a": 2.0}])
    assert told == {"a": Row(2, 1, 3), "b": Row(9, 9, 9)}


def test_numbers_have_three_digits_and_no_exponent():
    assert [number(x) for x in (164_321, 1610.4, 2.2349, 0.006361)] == ["164,000", "1,610", "2.23", "0.00636"]


def test_a_discarded_region_faults_again_and_a_touched_one_does_not():
    region = Region(1 << 20, huge=False)
    assert region.bytes.ctypes.data % (2 << 20) == 0
    region.touch()
    assert region.bytes[:: mmap.PAGESIZE].all()
    assert region.is_whole()
    region.advise(mmap.MADV_DONTNEED, 4096)
    assert not region.bytes.any()
    region.advise(mmap.MADV_DONTNEED, 4096)
    assert not region.is_whole()


def test_a_refused_madvise_is_not_taken_for_a_fast_one():
    with pytest.raises(OSError, match="failed 2 times"):
        Region(2 << 20, huge=False).advise(12345, 1 << 20)


def test_where_no_huge_pages_are_given_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(Region, "is_whole", lambda _region: False)
    assert huge_region(2 << 20) is None
    assert "no rows for THP" in capsys.readouterr().out


def test_a_small_run_times_every_step(monkeypatch):
    monkeypatch.setattr("benchmarks.host_costs.huge_region", lambda _size: None)
    told = measure(2, 4 << 20, 1 << 20, 2_000)
    assert told.keys() >= GUEST.keys() | HOST.keys()
    assert all(0 < row.least_ns <= row.median_ns <= row.most_ns for row in told.values())
    used = told[f"MADV_DONTNEED of 2 MiB, {SMALL}"].least_ns
    assert used > told[f"MADV_DONTNEED of 4 KiB that was {SMALL}"].most_ns, "512 pages cost more than none"
