"""What each op means for the buddy: the table, told once more by the plain-Python oracle."""

from dataclasses import replace

import pytest

from replay.buddy.ops import Meaning, meaning_table
from tests.oracle.model import meaning_of
from tests.pure.small_traces import GUEST
from tracer import Op

BUDDY = {Op.ZONE_LOCKED, Op.PCPU_DRAIN, Op.EXTFRAG, Op.PAGE_FREE}
ISOLATION = {Op.ISOLATE, Op.PUT_BACK, Op.REPORTING_ISOLATE, Op.REPORTING_PUT_BACK}
RECORDED = {
    "tracepoints": BUDDY,
    "tracepoints and owners": BUDDY | {Op.PAGE_ALLOC},
    "with isolation": BUDDY | ISOLATION | {Op.COMPACTION_ISOLATE, Op.FAST_ISOLATE},
    "with every free": BUDDY | ISOLATION | {Op.BUDDY_FREE},
}


@pytest.mark.parametrize("release", ["6.1.0", "6.12.0"])
@pytest.mark.parametrize("owners_only", [False, True])
@pytest.mark.parametrize("recorded", RECORDED.values(), ids=RECORDED)
def test_the_table_says_the_same_as_the_oracle(recorded: set[Op], owners_only: bool, release: str) -> None:
    table = meaning_table(replace(GUEST, kernel_release=release), recorded, owners_only=owners_only)
    asked = {"owners_only": owners_only, "by_pageblock": release == "6.12.0"}
    names, pcp = {op.name.lower() for op in recorded}, set(GUEST.pcp_orders)
    for op in Op:
        for order in range(GUEST.max_order + 1):
            want = meaning_of(op.name.lower(), order, names, pcp, **asked)
            if op in (Op.COMPACTION_ISOLATE, Op.FAST_ISOLATE):
                want = "reshuffle"  # the oracle's table tells of frames only
            assert Meaning(table[op, order]).name.lower() == want, (op, order)


def test_what_moves_a_block_larger_than_any_list_is_told_apart() -> None:
    table = meaning_table(GUEST, {Op.BUDDY_FREE})
    for op in (Op.ZONE_LOCKED, Op.EXTFRAG, Op.ISOLATE, Op.PUT_BACK, Op.BUDDY_FREE):
        assert table[op, GUEST.max_order + 1] == Meaning.BAD_ORDER
    assert table[Op.NOTIFY, GUEST.max_order + 1] == Meaning.NOTHING


def test_an_op_of_a_newer_format_is_unknown() -> None:
    assert (meaning_table(GUEST)[max(Op) + 1 :] == Meaning.UNKNOWN).all()


def test_where_every_free_is_recorded_drains_and_frees_are_not_counted_twice() -> None:
    table = meaning_table(GUEST, BUDDY | {Op.BUDDY_FREE})
    assert (table[[Op.PCPU_DRAIN, Op.PAGE_FREE]] == Meaning.NOTHING).all()
    assert table[Op.BUDDY_FREE, 0] == Meaning.ENTER
    assert table[Op.PUT_BACK, 9] == Meaning.PUT_BACK


def test_the_guests_own_reporting_moves_nothing_on_any_rung() -> None:
    for recorded in RECORDED.values():
        table = meaning_table(GUEST, recorded)
        for op in (Op.REPORTING_ISOLATE, Op.REPORTING_PUT_BACK, Op.NOTIFY, Op.PASS_START, Op.REPORT):
            assert (table[op] == Meaning.NOTHING).all()


def test_it_moves_its_blocks_where_the_kernels_own_lists_are_asked_for() -> None:
    table = meaning_table(GUEST, BUDDY, own_reporting=True)
    assert table[Op.REPORTING_ISOLATE, 9] == Meaning.ISOLATE
    assert table[Op.REPORTING_PUT_BACK, 9] == Meaning.PUT_BACK
