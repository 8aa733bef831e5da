"""Zones, orders and pages of other shapes than those of a small x86 machine, replayed and validated."""

from typing import Any

import pytest

from replay import replay, validate
from replay.geometry import Geometry, disjoint
from replay.invariants import violations
from replay.policies import comparison
from replay.slicing import slice_trace
from tests.pure.odd_guests import Plain, Shape, write, zone
from tracer import Fault, Trace, open_trace

NORMAL = zone("Normal", 8192, 20480)
SHAPES = {
    "several zones on two nodes": Shape(
        [
            zone("DMA", 1, 4096),
            zone("DMA32", 4096, 12288, low=300),
            zone("Normal", 16384, 24576),
            zone("Normal", 24576, 32768, node=1, low=900),
            zone("Movable", 32768, 36864, node=1),
        ]
    ),
    "a sparse zone with holes": Shape(
        [zone("Normal", 0, 32768)], holes=[(700, 701), (4096, 12288), (13000, 13777), (31744, 32768)]
    ),
    "zones not aligned to the maximum order": Shape(
        [zone("DMA", 1, 1537), zone("DMA32", 1537, 7776), zone("Normal", 7776 + 96, 20001)]
    ),
    "64 KiB pages, orders up to 13": Shape(
        [zone("DMA", 4096, 36864), zone("Normal", 36864 + 512, 106496)], 13, 13, 64 << 10
    ),
    "pageblocks far below the maximum order": Shape(
        [zone("DMA", 16, 4064), zone("Normal", 4096, 16384)], 10, 5
    ),
    "16 KiB pages, orders up to 11": Shape([zone("Normal", 2048, 24576)], 11, 11, 16 << 10),
    "memory that is initialised late": Shape(
        [NORMAL], new=[(pfn, 10) for pfn in range(12288, 16384, 1024)]
    ),
    "memory added to a zone": Shape(
        [NORMAL], new=[(pfn, 10) for pfn in range(20480, 24576, 1024)],
        later_zones=[zone("Normal", 8192, 24576)],
    ),
    "memory added below and above": Shape(
        [NORMAL], new=[(4096, 10), (24576, 10)], holes=[(5120, 8192), (20480, 24576)],
        later_zones=[zone("Normal", 4096, 25600)],
    ),
    "a zone's first memory": Shape(
        [NORMAL], new=[(28672, 10), (29696, 10)], later_zones=[NORMAL, zone("Movable", 28672, 30720, node=1)]
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=[(name, seed) for name in SHAPES for seed in (1, 2)], ids=str)
def case(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trace, Plain]:
    name, seed = request.param
    path = tmp_path_factory.mktemp("odd") / "a.trace"
    plain = write(path, SHAPES[name], seed, resync=seed == 2)
    trace = open_trace(path)
    assert trace.complete
    assert trace.rows > 40
    return trace, plain


def test_the_model_has_the_frames_and_the_blocks_of_a_plain_count(case: tuple[Trace, Plain]) -> None:
    trace, plain = case
    verdict = validate(trace)
    fidelity = verdict.fidelity
    names = ("frames_wrong", "frames_corrected", "exit_of_used", "entry_of_free", "outside", "orders_wrong")
    assert [fidelity[name] for name in names] == [0] * len(names)
    assert fidelity["steps"] == trace.rows
    assert [(verdict.zones[z.zone], z.model.tolist()) for z in verdict.orders] == [
        (f"{z.node}/{z.name}", plain.blocks(z)) for z in plain.shape.last_zones
    ]
    assert verdict.warnings == []


def test_every_policy_ends_with_the_memory_of_a_plain_count(case: tuple[Trace, Plain]) -> None:
    trace, plain = case
    settings = comparison(trace.manifest.guest, trace.manifest.guest.pageblock_order)
    page, done = plain.shape.page_size, replay(trace, settings)
    assert done.fidelity["outside"] == done.fidelity["exit_of_used"] == done.fidelity["entry_of_free"] == 0
    for result in done.results:
        assert violations(result.run) == []
        timeline = result.timeline
        ends = [timeline[f"{name}_bytes"][-1] // page for name in ("free", "reportable", "managed")]
        assert ends == [int((plain.state == 1).sum()), plain.reportable, int((plain.state < 3).sum())]
        assert timeline["managed_bytes"][-1] - timeline["managed_bytes"][0] == page * sum(
            1 << order for _, order in plain.shape.new
        )
    reclaimed = {result.policy: result.summary["reclaimed"]["end_bytes"] // page for result in done.results}
    assert reclaimed["oracle"] == int(plain.away.sum())
    assert reclaimed["never"] == 0
    assert 0 < reclaimed["upstream"] <= reclaimed["oracle"]


def test_memory_that_nobody_used_yet_is_no_sample(tmp_path) -> None:
    """A guest all in use, whose new memory is never used: nothing is reclaimed, and nothing waited."""
    shape = Shape([NORMAL], new=[(12288, 10), (13312, 10)])
    plain = write(tmp_path / "a.trace", shape, 3, tries=1)
    trace = open_trace(tmp_path / "a.trace")
    for result in replay(trace, ["oracle", "upstream"], None).results:
        assert result.summary["latency_s"]["samples"] == 0
        reclaimed = result.summary["reclaimed"]
        assert reclaimed["end_bytes"] == reclaimed["start_bytes"]
    assert plain.fresh.sum() == 2048


@pytest.mark.parametrize("name", ["memory added below and above", "a zone's first memory"])
@pytest.mark.parametrize("span_s", [(0, 15), (6, 15), (12, 15)])
def test_a_slice_knows_the_zones_that_only_the_end_of_the_whole_tells(tmp_path, name, span_s) -> None:
    """Memory is added at 10 s, and the slice ends before the end snapshot."""
    write(tmp_path / "a.trace", SHAPES[name], 1)
    after_ns, until_ns = (int(second * 1e9) for second in span_s)
    part = slice_trace(open_trace(tmp_path / "a.trace"), tmp_path / "b.trace", after_ns, until_ns)
    assert part.manifest.snapshot("end") is None
    done = replay(part, ["oracle"])
    assert done.fidelity["steps"] == part.rows
    assert [done.fidelity[count] for count in ("outside", "exit_of_used", "entry_of_free")] == [0, 0, 0]
    managed = done.results[0].timeline["managed_bytes"] // 4096
    first, last = (sum(z.managed for z in zones) for zones in (SHAPES[name].zones, SHAPES[name].last_zones))
    holes = sum(end - begin for begin, end in SHAPES[name].holes)
    assert managed[-1] == last - holes
    assert managed[0] == (first if after_ns < 10e9 else last - holes)


# Zones that share frames

INTERLEAVED = [
    zone("Normal", 0, 12288),
    zone("Normal", 4096, 16384, node=1),
    zone("Movable", 5120, 6144, node=2),
]


def test_interleaved_nodes_are_told_of_and_each_frame_is_counted_once(tmp_path) -> None:
    plain = write(tmp_path / "a.trace", Shape(INTERLEAVED), 1)
    done = replay(tmp_path / "a.trace")
    told = (
        "zones Normal of node 0 and Normal of node 1 share pfns 4,096 to 12,287: whose those frames are is "
        "not recorded, so they are counted for the former, and free memory zone by zone is not exact"
    )
    assert told in done.limits
    assert len(done.limits) == 2
    for result in done.results:
        assert violations(result.run) == []
        assert result.timeline["free_bytes"][-1] == 4096 * int((plain.state == 1).sum())
        assert result.timeline["managed_bytes"][-1] == 4096 * 16384
    verdict = validate(open_trace(tmp_path / "a.trace"))
    assert told in verdict.warnings
    assert verdict.fidelity["frames_wrong"] == verdict.fidelity["outside"] == 0


def test_a_frame_is_of_the_zone_that_begins_first() -> None:
    spans = [(z.node, z.start_pfn, z.end_pfn) for z in disjoint(INTERLEAVED)]
    assert spans == [(0, 0, 12288), (1, 12288, 16384), (2, 6144, 6144)]
    assert [(z.start_pfn, z.end_pfn) for z in disjoint(INTERLEAVED[::-1])][::-1] == [s[1:] for s in spans]
    apart = [zone("DMA", 1, 4096), zone("Normal", 8192, 9000), zone("DMA32", 4096, 8192)]
    assert disjoint(apart) == tuple(apart)


@pytest.mark.parametrize("order", [16, 20])
def test_units_of_more_frames_than_are_counted_are_refused(order) -> None:
    shape = Shape([zone("Normal", 0, 1 << 21)], max_order=20)
    with pytest.raises(Fault, match=f"reporting order {order} is not possible"):
        Geometry.of(shape.guest, shape.zones, order)
    assert Geometry.of(shape.guest, shape.zones, 15).units == 1 << 6
