"""Zones of guests whose memory grows, or whose nodes are interleaved."""

from tests.pure.small_traces import ZONES, edit_manifest, write
from tracer import Zone, open_trace
from tracer.format import Filters, to_json
from tracer.recording.filters import outgrown
from tracer.zones import over_time, overlaps


def zone(name, start, end, node=0, managed=100) -> Zone:
    return Zone(node, name, start, end - start, managed, managed, managed, 1, 2, 3, 0)


def test_a_zone_is_as_long_as_it_ever_was_and_has_its_first_counts():
    first, later = [zone("DMA", 1, 9), zone("Normal", 100, 200)], [zone("Normal", 50, 300, managed=250)]
    assert over_time(first, [first, later, first]) == [first[0], zone("Normal", 50, 300)]


def test_a_zone_that_comes_later_is_empty_at_first_and_behind_the_others():
    first = [zone("DMA32", 16, 100)]
    grown = over_time(
        first, [[zone("DMA", 1, 16), *first, zone("Normal", 200, 300)], [zone("Normal", 200, 400)]]
    )
    assert [(z.name, z.start_pfn, z.end_pfn, z.present, z.managed, z.free, z.low) for z in grown] == [
        ("DMA32", 16, 100, 100, 100, 100, 2), ("DMA", 1, 16, 0, 0, 0, 2), ("Normal", 200, 400, 0, 0, 0, 2),
    ]  # fmt: skip


def test_a_zone_of_the_same_name_on_another_node_is_another_zone():
    first = [zone("Normal", 0, 100)]
    assert [z.node for z in over_time(first, [[zone("Normal", 100, 200, node=1)]])] == [0, 1]


def test_a_trace_has_the_zones_of_all_its_snapshots(tmp_path):
    path = write(tmp_path / "a.trace")
    new = to_json(zone("Movable", 10_000, 20_000))
    edit_manifest(path, lambda data: data["snapshots"][1]["zones"][0].update(spanned=9_000))
    edit_manifest(path, lambda data: data["snapshots"][1]["zones"].append(new))
    first, second = open_trace(path).zones
    assert (first.end_pfn, first.managed) == (9_000, ZONES[0].managed)
    assert (second.name, second.start_pfn, second.end_pfn, second.managed) == ("Movable", 10_000, 20_000, 0)


def test_zones_that_share_frames_are_found_as_pairs():
    a, b, c, d = zone("A", 0, 50), zone("B", 10, 20), zone("C", 40, 60), zone("D", 60, 70)
    assert overlaps([d, c, a, b]) == [(a, b), (a, c)]
    assert overlaps([a, d]) == overlaps([]) == []


def test_a_zone_chosen_by_name_that_grew_is_noted():
    first, kept = [zone("Normal", 100, 200)], Filters(zones=["Normal", "Movable"])
    later = [zone("Normal", 100, 300), zone("Movable", 400, 500)]
    grown, new = outgrown(first, later, kept)
    assert grown == (
        "zone Normal of node 0 was Normal 0x64..0xc8 when recording began and grew to Normal 0x64..0x12c: "
        "events of the frames it gained were not kept"
    )
    assert new.startswith("zone Movable of node 0 was empty")
    assert outgrown(first, later, None) == outgrown(first, later, Filters(pfns=[1, 2])) == []
    assert outgrown(first, first, kept) == []
