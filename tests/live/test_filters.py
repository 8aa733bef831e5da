"""What the user asked to leave out is counted in the kernel and not stored."""

from pathlib import Path

import polars as pl
import pytest

from tests.live.running import WORKLOAD, answer, fault, pagetide
from tracer import Op, open_trace
from tracer.format import FrameState
from tracer.guest.files import GuestFiles
from tracer.guest.procfs import read_zones


def test_only_what_passes_all_filters_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    with GuestFiles() as files:
        zone = max(read_zones(files), key=lambda zone: zone.managed)
    first, end = zone.start_pfn + zone.spanned // 4, zone.end_pfn + 5
    flags = ["--zones", zone.name, "--pfns", f"{first:#x}-{end}", "--orders", "0-3", "--layer", "both"]
    told = answer(pagetide("record", path, *flags, "--json", "--", *WORKLOAD, 2))

    trace = open_trace(path)
    assert told["manifest"]["filters"] == {"orders": [0, 3], "pfns": [first, end], "zones": [zone.name]}
    events = trace.events.collect()
    assert len(events) == trace.rows > 1000
    assert first <= min(events["pfn"]) <= max(events["pfn"]) < zone.end_pfn
    isolated = [Op.COMPACTION_ISOLATE, Op.FAST_ISOLATE]
    assert max(events.filter(~pl.col("op").is_in(isolated))["order"]) <= 3
    assert {"pid", "gfp"}.isdisjoint(events.columns)
    rows = dict(events["op"].value_counts().iter_rows())
    for probe in trace.manifest.probes:
        assert probe.hits == probe.kept + probe.lost + probe.filtered, probe
        assert probe.kept == rows.get(probe.op, 0), probe
    filtered = {probe.op: probe.filtered for probe in trace.manifest.probes}
    assert filtered[Op.PAGE_ALLOC] > 0
    assert filtered[Op.PAGE_FREE] > 0

    assert {entry.name for entry in trace.manifest.zones} == {zone.name}
    assert_outside_is_absent(trace.frames(), first, zone.end_pfn)
    assert "filter" in fault(pagetide("replay", path), 1)


def assert_outside_is_absent(runs: object, first: int, end: int) -> None:
    frames = pl.from_arrow(runs)
    assert isinstance(frames, pl.DataFrame)
    there = frames.filter(pl.col("state") != FrameState.ABSENT)
    assert first <= min(there["pfn"])
    assert max(there["pfn"] + there["count"]) <= end
    assert there["count"].sum() > 0


def test_a_zone_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = pagetide("record", tmp_path / "a.trace", "--zones", "Nowhere", "--", "true")
    assert "no zone Nowhere" in fault(done, 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--orders", "0-19"], "this guest has no order 19"),
        (["--pfns", "0x7000000000-0x7000000001"], "nothing would be recorded"),
    ],
    ids=["orders", "pfns"],
)
def test_what_this_guest_has_not_is_refused(tmp_path: Path, flags: list[str], what: str) -> None:
    said = fault(pagetide("record", tmp_path / "a.trace", *flags, "--duration", "1s"), 1)
    assert what in said
    assert not list(tmp_path.iterdir())
