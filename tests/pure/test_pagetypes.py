"""Free blocks and pageblocks by migratetype: texts of several kernels, and what a snapshot keeps of them."""

from dataclasses import replace

import pytest

from tests.pure.proc_texts import (
    OLD_PAGETYPEINFO,
    PAGETYPEINFO,
    TWO_NODES_PAGETYPEINFO,
    WITH_CMA,
    guest_files,
)
from tests.pure.small_traces import edit_manifest, manifest, snapshot, write
from tracer import Fault, PageTypes, open_trace
from tracer.faults import ExitCode
from tracer.format import Manifest, from_json, to_json
from tracer.guest.pagetypes import parse_page_types, read_page_types

TYPES = ["Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate"]
CMA = [*TYPES[:4], "CMA", "Isolate"]
HERE = PageTypes(0, "Normal", [[k] * 11 for k in range(5)], [[1, 0]], [1, 15, 0, 0, 0], 100, 200)


def test_each_node_tells_of_its_own_zones_under_headings_of_its_own():
    first, second = parse_page_types(TWO_NODES_PAGETYPEINFO, CMA, 5, 9)
    assert (first.node, first.zone, first.read_begin_ns, first.read_end_ns) == (0, "DMA32", 5, 9)
    assert first.free_blocks == [
        [1, 2, 3], [100_000, 20, 99_999], [4, 0, 0], [0, 0, 0], [0, 0, 7], [0, 0, 0],
    ]  # fmt: skip
    assert (second.node, second.zone) == (1, "Normal")
    assert second.free_blocks[3] == [0, 1, 0]


def test_a_count_that_the_kernel_cut_off_is_told_as_one():
    first, second = parse_page_types(TWO_NODES_PAGETYPEINFO, CMA, 5, 9)
    assert first.cut_off == [[1, 0]]
    assert second.cut_off == [[0, 2]]


def test_counts_of_a_kernel_that_cuts_nothing_off_are_whole():
    (zone,) = parse_page_types(OLD_PAGETYPEINFO, TYPES, 5, 9)
    assert zone.free_blocks[:2] == [[123_456, 2], [0, 1_234_567]]
    assert zone.cut_off == []


def test_pageblocks_are_those_of_a_type_and_not_the_mixed_ones():
    first, second = parse_page_types(TWO_NODES_PAGETYPEINFO, CMA, 5, 9)
    assert first.pageblocks == [11, 1500, 12, 0, 8, 1]
    assert second.pageblocks == [1, 2047, 0, 1, 0, 0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        PAGETYPEINFO,  # two types of five
        WITH_CMA,  # no free blocks at all
        OLD_PAGETYPEINFO.replace("type    Unmovable 123456", "type    Unmovable  ~5"),
        OLD_PAGETYPEINFO.replace("type      Movable      0", "type      Movable "),  # an order less
        OLD_PAGETYPEINFO.replace("type      Isolate", "type       Strange"),
        OLD_PAGETYPEINFO.replace("            1            7  ", "            1"),
        OLD_PAGETYPEINFO.replace("Number of blocks type", "Number of something"),
        OLD_PAGETYPEINFO.partition("Number of")[0],
    ],
)
def test_a_text_of_another_form_is_a_fault(text):
    with pytest.raises(Fault, match="pagetypeinfo has") as caught:
        parse_page_types(text, TYPES, 5, 9)
    assert caught.value.code == ExitCode.ENVIRONMENT


def test_the_instants_lie_around_the_read(tmp_path):
    with guest_files(tmp_path, pagetypeinfo=TWO_NODES_PAGETYPEINFO) as files:
        first, second = read_page_types(files, CMA)
        again, _ = read_page_types(files, CMA)
    assert 0 < first.read_begin_ns < first.read_end_ns < again.read_begin_ns
    assert (second.read_begin_ns, second.read_end_ns) == (first.read_begin_ns, first.read_end_ns)


# In a trace


def with_types(types) -> Manifest:
    return manifest(snapshots=[replace(snapshot("start", 10, 20), page_types=types)])


def test_a_manifest_keeps_them():
    told = with_types([HERE])
    assert from_json(Manifest, to_json(told), "x") == told


def test_a_trace_made_before_they_were_read_opens_without_them(tmp_path):
    path = write(tmp_path / "old.trace")
    edit_manifest(path, lambda data: [shot.pop("page_types") for shot in data["snapshots"]])
    trace = open_trace(path)
    assert trace.complete
    assert [shot.page_types for shot in trace.manifest.snapshots] == [[], []]


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"free_blocks": [[0] * 11] * 4}, "free_blocks, their number"),
        ({"free_blocks": [[0] * 11] * 4 + [[0] * 10]}, "free_blocks[4], their number"),
        ({"free_blocks": [[0] * 11] * 4 + [[-1] * 11]}, "free_blocks[4][0]"),
        ({"free_blocks": [[0] * 11] * 4 + [[1 << 60] * 11]}, "free_blocks[4][0]"),
        ({"pageblocks": [0] * 6}, "pageblocks, their number"),
        ({"pageblocks": [0, 0, 0, 0, -1]}, "pageblocks[4]"),
        ({"cut_off": [[]]}, "cut_off[0], its length"),
        ({"cut_off": [[5, 0]]}, "cut_off[0][0]"),
        ({"cut_off": [[0, 11]]}, "cut_off[0][1]"),
        ({"read_end_ns": 99}, "read_end_ns"),
    ],
)
def test_page_types_that_cannot_be_are_refused_with_their_place(tmp_path, wrong, where):
    path = write(tmp_path / "bad.trace")
    entry = to_json(replace(HERE, **wrong))
    edit_manifest(path, lambda data: data["snapshots"][1].update(page_types=[entry]))
    with pytest.raises(Fault) as caught:
        open_trace(path)
    assert f"manifest.json.snapshots[1].page_types[0].{where}" in caught.value.what
