"""Records of the ring as columns: what the program packs (`reserve`, `owner`) comes out again."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.format import Op
from tracer.parquet import event_schema
from tracer.probes.records import columns
from tracer.probes.ring import RECORD_WORDS

MASK = (1 << 64) - 1


def packed(pfn=0, order=0, migratetype=0, op=1, cpu=0, aux=0, ts_ns=0) -> Any:
    """A record as `reserve` in the BPF program packs it, in C's 64-bit words."""
    block = (pfn & 0xFFFFFFFFFF) | (order & 0xFF) << 40 | (migratetype & 0xFF) << 48 | op << 56
    return [ts_ns, block, (cpu & 0x3FFF) | aux << 14 & MASK]


def owner(pid=0, gfp=0) -> Any:
    """Aux of a frame-layer record, as `owner` packs it."""
    return gfp & 0xFFFFFFF | (pid & 0x3FFFFF) << 28


def unpacked(*, with_pid=False, with_gfp=False, **fields) -> Any:
    row = columns(np.array([packed(**fields)], np.uint64), with_pid=with_pid, with_gfp=with_gfp)
    return {name: values[0].item() for name, values in row.items()}


@given(
    pfn=st.integers(0, (1 << 40) - 1),
    order=st.integers(0, 255),
    migratetype=st.integers(-128, 127),
    op=st.sampled_from(Op),
    cpu=st.integers(0, (1 << 14) - 1),
    aux=st.integers(0, (1 << 50) - 1),
    ts_ns=st.integers(0, (1 << 62)),
)
def test_each_field_comes_out_as_it_went_in(**fields):
    assert unpacked(**fields) == fields | {"op": int(fields["op"])}


def test_an_unknown_migratetype_stays_negative_and_does_not_leak_into_op():
    row = unpacked(migratetype=-1, op=4)
    assert (row["migratetype"], row["op"], row["order"]) == (-1, 4, 0)


@given(
    pid=st.integers(0, (1 << 22) - 1),
    gfp=st.integers(0, (1 << 28) - 1),
    op=st.sampled_from([Op.PAGE_ALLOC, Op.PAGE_FREE]),
)
def test_owners_of_the_frame_layer_have_columns_of_their_own_and_leave_aux(pid, gfp, op):
    row = unpacked(op=op, aux=owner(pid, gfp), with_pid=True, with_gfp=True)
    assert (row["pid"], row["gfp"], row["aux"]) == (pid, gfp, 0)


@pytest.mark.parametrize(("asked", "value"), [("with_pid", {"pid": 4_000_000}), ("with_gfp", {"gfp": 0xABC})])
def test_only_the_owner_columns_asked_for_are_there(asked, value):
    row = unpacked(op=Op.PAGE_ALLOC, aux=owner(**value), **{asked: True})
    assert {name: row[name] for name in ("pid", "gfp") if name in row} == value
    assert row["aux"] == 0


def test_aux_of_other_ops_is_no_owner():
    row = unpacked(op=Op.EXTFRAG, aux=0x0102_0304, with_pid=True, with_gfp=True)
    assert (row["aux"], row["pid"], row["gfp"]) == (0x0102_0304, 0, 0)


@pytest.mark.parametrize("with_pid", [False, True])
@pytest.mark.parametrize("with_gfp", [False, True])
def test_columns_are_those_of_the_schema_in_its_order_and_types(with_pid, with_gfp):
    records = np.array([packed(pfn=n, ts_ns=9 - n) for n in range(5)], np.uint64)
    made = columns(records, with_pid=with_pid, with_gfp=with_gfp)
    schema = event_schema(with_pid=with_pid, with_gfp=with_gfp)
    assert {name: str(values.dtype) for name, values in made.items()} == {
        field.name: str(field.type) for field in schema
    }
    assert made["pfn"].tolist() == list(range(5))


def test_no_records_make_empty_columns():
    made = columns(np.empty((0, RECORD_WORDS), np.uint64), with_pid=True)
    assert {len(values) for values in made.values()} == {0}


def test_columns_of_a_slice_of_records_are_those_of_its_rows():
    records = np.array([packed(pfn=n, order=n) for n in range(6)], np.uint64)
    assert columns(records[1::2])["order"].tolist() == [1, 3, 5]
