"""Traces that know less: imports, owners only, filters. Every answer says so."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from replay.api import replay
from replay.buddy.ops import meaning_of
from replay.geometry import Geometry
from replay.main import run
from replay.slicing import slice_trace
from replay.start import start_of
from replay.stretches import event_columns, stretches
from replay.validation import validate
from tests.pure import small_traces, worlds
from tests.pure.small_traces import FRAMES, GUEST, ZONES, manifest, snapshot
from tests.pure.worlds import World
from tracer import Fault, TraceOutput, open_trace
from tracer.format import LIST_COLUMNS, SAMPLE_COLUMNS, Filters, Op, Probe, Zone
from tracer.parquet import arrow_schema

UNIT = 512
EXITS_AND_ENTRIES = [(5000, True, 0, 9), (6000, False, 0, 0), (7000, True, UNIT, 8), (9000, True, 0, 0)]


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    return worlds.write(tmp_path / "a.trace", World(EXITS_AND_ENTRIES, [], [100]))


def told(capsys: Any, *arguments: object) -> Any:
    assert run([str(each) for each in arguments]) == 0
    return capsys.readouterr().out


def test_an_import_is_replayed_from_its_first_event_and_says_that_its_start_is_unknown(
    imported: Path, capsys: Any
) -> None:
    trace = json.loads(told(capsys, "replay", imported, "--policy", "never", "--json"))["trace"]
    assert trace["start"] == "unknown"
    assert trace["duration_s"] == 4e-6
    assert trace["lists"] == "ascending"
    assert trace["entries_and_exits"] == "buddy"
    assert trace["warnings"][0].startswith(f"unknown start: nothing is known of {worlds.FRAMES:,} frames")
    assert trace["warnings"][1] == "it was imported"
    table = told(capsys, "replay", imported, "--policy", "never")
    assert "start unknown, backing 4k" in table
    assert "note: unknown start" in table
    assert "note: it was imported" in table


def test_what_is_not_known_is_managed_and_reportable_only_from_its_first_event_on(imported: Path) -> None:
    done = replay(open_trace(imported), ["never", "oracle"])
    never, ceiling = done.results
    totals = never.run.group.occupancy.totals[0]
    assert totals["managed"] == UNIT + UNIT // 2
    assert totals["free"] == UNIT + UNIT // 2
    assert done.fidelity["exit_of_used"] == done.fidelity["entry_of_free"] == 0
    # The one unit of which all is known: freed twice, reported twice, and backed before the first time.
    assert ceiling.summary["reports"]["blocks"] == 2
    assert ceiling.summary["reclaimed"]["end_bytes"] == UNIT * 4096
    assert ceiling.summary["reclaimed"]["start_bytes"] == 0


@pytest.mark.parametrize(("low", "notes"), [(0, 1), (20, 0)])
def test_a_policy_whose_watermarks_were_not_recorded_says_so(tmp_path: Path, low: int, notes: int) -> None:
    zones = [Zone(0, "Normal", 0, worlds.FRAMES, worlds.FRAMES, worlds.FRAMES, 0, 0, low, low, 0)]
    path = worlds.write(tmp_path / "a.trace", World(EXITS_AND_ENTRIES, [], [100]), zones=zones)
    found = replay(open_trace(path), ["upstream"]).results[0].summary["notes"]
    assert [note for note in found if "watermarks were not recorded" in note] == found
    assert len(found) == notes


def test_a_trace_without_snapshots_cannot_be_validated(imported: Path) -> None:
    with pytest.raises(Fault, match="there is nothing to compare with") as caught:
        validate(open_trace(imported))
    assert "import" in caught.value.how


def test_a_trace_of_owners_moves_by_their_events_of_every_order_and_says_so(
    tmp_path: Path, capsys: Any
) -> None:
    probes = [
        Probe("kmem:mm_page_free", "tracepoint", Op.PAGE_FREE, 1, 1),
        Probe("a", "tracepoint", Op.PAGE_ALLOC, 1, 1),
    ]
    begun = small_traces.begin(tmp_path / "a.trace", [])
    columns = small_traces.columns([2_000_000, 3_000_000])
    columns["op"][:] = [Op.PAGE_ALLOC, Op.PAGE_FREE]
    columns["pfn"][:] = FRAMES // 2
    begun.write_segment(columns, probes)
    start = snapshot("start", small_traces.START_NS - 200, small_traces.START_NS)
    begun.close(manifest(status="complete", layers=["frame"], probes=probes, snapshots=[start]))
    done = replay(open_trace(begun.path), ["never"])
    assert done.fidelity["steps"] == 2
    assert done.fidelity["exit_of_used"] == done.fidelity["entry_of_free"] == 0
    answer = json.loads(told(capsys, "replay", begun.path, "--json"))
    assert answer["trace"]["entries_and_exits"] == "owners"
    assert any(line.startswith("entries and exits are the owners'") for line in answer["trace"]["warnings"])
    assert "note: entries and exits are the owners'" in told(capsys, "replay", begun.path)


@pytest.mark.parametrize("filters", [Filters(orders=[3, 10]), Filters(pfns=[0, 4096])])
def test_a_trace_in_which_events_of_a_zone_are_left_out_is_refused(tmp_path: Path, filters: Filters) -> None:
    trace = open_trace(small_traces.write(tmp_path / "a.trace", filters=filters))
    for use in (
        lambda: replay(trace, ["never"]),
        lambda: validate(trace),
        lambda: slice_trace(trace, tmp_path / "b.trace", 0, 10),
    ):
        with pytest.raises(Fault, match="which frames are free is not known") as caught:
            use()
        assert "recorded with a filter" in caught.value.how


def test_a_trace_of_some_zones_is_replayed(tmp_path: Path) -> None:
    path = small_traces.write(tmp_path / "a.trace", filters=Filters(zones=["Normal"]))
    assert replay(open_trace(path), ["never"]).fidelity["steps"] == 5


def lists_table(rows: list[tuple[int, int, int, int, int]]) -> pa.Table:
    zone, order, kind, position, pfn = zip(*rows, strict=True)
    when = [small_traces.START_NS - 90] * len(rows)
    values = [zone, order, kind, position, pfn, when, when]
    schema = arrow_schema(LIST_COLUMNS)
    return pa.table(dict(zip(LIST_COLUMNS, values, strict=True)), schema=schema)


def listed(path: Path, rows: list[tuple[int, int, int, int, int]]) -> Path:
    """A trace whose upper half is four free blocks of order 10 at the start; one exits later."""
    writer = small_traces.begin(path, [])
    writer.write_frames("start-lists", lists_table(rows))
    writer.write_segment(small_traces.columns([small_traces.START_NS - 80]), small_traces.counted(1))
    start = snapshot("start", small_traces.START_NS - 200, small_traces.START_NS)
    shots = [type(start)(**{**start.__dict__, "lists": True})]
    writer.close(manifest(status="complete", probes=small_traces.counted(1), snapshots=shots))
    return path


def test_blocks_start_in_the_order_of_the_lists_that_were_read_and_the_others_after_them(
    tmp_path: Path, capsys: Any
) -> None:
    # The block at 4096 loses a frame after the lists were read; 5120 is on no list.
    rows = [(0, 10, 1, 1, 6144), (0, 10, 1, 0, 7168), (0, 10, 1, 2, 4096)]
    path = listed(tmp_path / "a.trace", rows)
    trace, geometry = open_trace(path), Geometry.of(GUEST, ZONES)
    start = start_of(trace, geometry, stretches(trace, event_columns(trace), geometry, meaning_of(trace)))
    blocks = [b for b in start.blocks(geometry, "cold") if b["order"] == 10]
    assert [(b["unit"] << 9, b["migratetype"]) for b in blocks] == [(7168, 1), (6144, 1), (5120, -1)]
    assert (
        json.loads(told(capsys, "replay", path, "--policy", "never", "--json"))["trace"]["lists"]
        == "recorded"
    )


@pytest.mark.parametrize(
    "rows", [[(0, 10, 1, 0, 7168), (0, 9, 1, 0, 7168)], [(0, 10, -1, 0, 7168)], [(0, 10, 1, 0, 1 << 39)]]
)
def test_lists_that_cannot_be_are_damage(tmp_path: Path, rows: Any) -> None:
    path = listed(tmp_path / "a.trace", rows)
    with pytest.raises(Fault, match=r"damaged at frames/start-lists\.parquet"):
        replay(open_trace(path), ["never"])


def sample(at_ns: int, free: int) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(SAMPLE_COLUMNS, 7)
    return row | {
        "read_begin_ns": at_ns, "read_end_ns": at_ns + 5, "zone": 0, "free_blocks": [free] * 11, "free": free,
    }  # fmt: skip


def test_a_slice_takes_the_zones_of_the_last_sample_and_what_was_seen_beside_its_events(
    tmp_path: Path,
) -> None:
    samples = pa.Table.from_pylist(
        [sample(at, at) for at in (1_500_000, 2_500_000, 3_500_000)], schema=arrow_schema(SAMPLE_COLUMNS)
    )
    start = snapshot("start", small_traces.START_NS - 200, small_traces.START_NS)
    probes = small_traces.counted(3)
    with TraceOutput(tmp_path / "a.trace", manifest()) as output:
        output.write_snapshot(start, small_traces.frame_runs(small_traces.START_NS - 100))
        columns = small_traces.columns([2_000_000, 3_000_000, 4_000_000])
        columns |= {"pid": np.array([5, 6, 7], np.uint32)}
        output.write_segment(columns, probes, samples=samples)
        output.close(manifest(status="complete", probes=probes, snapshots=[start]))
    whole = open_trace(tmp_path / "a.trace")
    part = slice_trace(whole, tmp_path / "b.trace", 2_000_000, 10_000_000)  # from 3 ms on
    assert part.zones[0].free == 2_500_000
    assert part.zones[0].low == 7
    assert part.start is not None
    assert part.start.buddyinfo[0].blocks == [2_500_000] * 11
    assert part.samples["free"].to_pylist() == [3_500_000]
    assert part.events.collect()["pid"].to_list() == [6, 7]
    assert "its samples and counters count from the beginning of the whole" in part.manifest.notes


def test_slice_is_a_command(imported: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "b.trace"
    line = ("slice", imported, out, "--from", "1us", "--to", "3us")
    answer = json.loads(told(capsys, *line, "--json"))
    assert (answer["events"], answer["snapshots"], answer["from_s"], answer["to_s"]) == (
        2,
        ["start"],
        1e-6,
        3e-6,
    )
    assert "2 events over" in told(capsys, *line, "--force")
    assert run([str(each) for each in line]) == 1
    assert "exists already" in capsys.readouterr().err


def test_a_slice_of_a_lossy_trace_is_written_and_the_command_ends_with_3(tmp_path: Path, capsys: Any) -> None:
    path = small_traces.write(tmp_path / "a.trace", lost=7)
    line = ["slice", str(path), str(tmp_path / "b.trace"), "--from", "0s", "--to", "1s"]
    assert run(line) == 3
    assert "7 events were lost" in capsys.readouterr().err
    assert open_trace(tmp_path / "b.trace").manifest.lost == 7
    assert run([*line, "--force", "--allow-loss"]) == 0


def test_a_slice_away_from_all_losses_has_lost_nothing(tmp_path: Path) -> None:
    from tracer.format import Loss

    start = snapshot("start", small_traces.START_NS - 200, small_traces.START_NS)
    with TraceOutput(tmp_path / "a.trace", manifest()) as output:
        output.write_snapshot(start, small_traces.frame_runs(small_traces.START_NS - 100))
        probes = small_traces.counted(3, lost=4)
        columns = small_traces.columns([2_000_000, 3_000_000, 4_000_000])
        output.write_segment(columns, probes, [Loss(3_200_000, 3_400_000, 4)])
        output.close(manifest(status="complete", probes=probes, snapshots=[start]))
    whole = open_trace(tmp_path / "a.trace")
    before = slice_trace(whole, tmp_path / "b.trace", 500_000, 1_500_000)
    assert (before.manifest.lost, before.losses) == (0, [])
    across = slice_trace(whole, tmp_path / "c.trace", 500_000, 2_300_000)
    assert across.manifest.lost == 4
    assert [loss.events for loss in across.losses] == [4]
