"""QEMU's trace of free page reporting, as lines that QEMU 7.2 wrote, grouped into report calls."""

import pytest

from tests.guest.discards import UnexpectedTrace, calls_of

OTHER = "21183@1795440636.204862:virtqueue_pop vq 0x7f1e6ec48010 elem 0x7f1d90002970 in_num 1 out_num 1\n"
TWO = "21185@1795440636.861469:virtqueue_pop vq 0x7f1e6ec211d8 elem 0x7f1da05334c0 in_num 2 out_num 0\n"
ONE = "21185@1795440638.877001:virtqueue_pop vq 0x7f1e6ec211d8 elem 0x7f1da05334c0 in_num 1 out_num 0\n"
FIRST = (
    "21185@1795440636.861511:ram_block_discard_range ram@0x7f1db2bff000 + 0x400000: "
    "madvise: 1 fallocate: 1 ret: 0\n"
)
SECOND = FIRST.replace(".861511", ".861516").replace("0x7f1db2bff000 + 0x400000", "0x7f1db27ff000 + 0x200000")


def calls(*lines: str) -> list[list[tuple[int, int, int]]]:
    return [[(r.wall_ns, r.address, r.size_bytes) for r in call.ranges] for call in calls_of(lines)]


def test_each_element_of_the_reporting_queue_is_a_call_with_its_ranges_in_order():
    one, two = 1795440636861511000, 1795440636861516000
    assert calls(OTHER, TWO, FIRST, SECOND, OTHER, OTHER, ONE, FIRST, OTHER) == [
        [(one, 0x7F1DB2BFF000, 4 << 20), (two, 0x7F1DB27FF000, 2 << 20)],
        [(one, 0x7F1DB2BFF000, 4 << 20)],
    ]


def test_the_last_call_may_end_the_log():
    assert [len(call) for call in calls(TWO, FIRST, SECOND, ONE, FIRST)] == [2, 1]


def test_a_log_without_reports_has_no_calls():
    assert calls(OTHER, OTHER) == calls() == []


def test_a_range_that_could_not_be_discarded_is_told():
    (call,) = calls_of([ONE, FIRST.replace("ret: 0", "ret: -22")])
    assert [one.failed for one in call.ranges] == [True]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([TWO, FIRST, OTHER], "1 ranges were discarded of"),
        ([TWO, FIRST], "1 ranges were discarded of"),
        ([ONE, FIRST, SECOND], "2 ranges were discarded of"),
        ([ONE, FIRST, ONE, ONE, FIRST], "0 ranges were discarded of"),
        ([FIRST], "a range of no report"),
        ([ONE, FIRST, OTHER, SECOND], "a range of no report"),
        ([ONE, FIRST[:60] + "\n"], "unknown line"),
    ],
)
def test_what_does_not_add_up_is_refused(lines, why):
    with pytest.raises(UnexpectedTrace, match=why):
        calls(*lines)
