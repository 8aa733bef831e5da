"""What a damaged or contradicting trace can hold, one thing at a time: refused with its place, or counted
and told; never a traceback, never a wrong number in silence.
"""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from replay.slicing import slice_trace
from tests.pure import damage
from tests.pure.damage import COMMANDS, COUNTERS, EVENTS, FRAMES_FILE, LISTS, SAMPLES, cell
from tests.pure.damages import (
    Damage,
    both,
    events,
    guest,
    index,
    index_as_folder,
    last_row_again,
    manifest,
    more_zone,
    no_rows,
    no_text,
    out_of_order,
    reverse,
    rows,
    same_file_again,
    same_rows_again,
    shot,
    text,
    with_column,
    zone,
)
from tests.pure.small_traces import END_NS, FRAMES, START_NS
from tracer import open_trace
from tracer.faults import ExitCode

ALL = tuple(COMMANDS)
EVERY_EVENT = ("verify", "replay", "validate", "convert")
EVERY_FRAME = ("verify", "replay", "validate", "convert")
HUGE = 1 << 63


# id: (damage, what is said, by which commands). Refused: exit 1 by those, and whatever else by the others.
REFUSED: dict[str, tuple[Damage, str, tuple[str, ...]]] = {
    "zones empty": (zone(spanned=0), "zones[0].spanned", ALL),
    "a zone twice": (more_zone(start_pfn=FRAMES), "zones[1]", ALL),
    "a node below 0": (zone(node=-1), "zones[0].node", ALL),
    "pageblocks above the max order": (guest(max_order=8), "guest.pageblock_order", ALL),
    "pages of no power of two": (guest(page_size=4095), "guest.page_size", ALL),
    "a migratetype twice": (guest(migratetypes=["Movable", "x", "movable"]), "guest.migratetypes[2]", ALL),
    "jiffies beyond any clock": (guest(jiffies=HUGE), "guest.jiffies", ALL),
    "a probe twice": (manifest(lambda data: data["probes"].append(data["probes"][0])), "probes[1]", ALL),
    "an unknown status": (manifest(lambda data: data.update(status="done")), "manifest.json.status", ALL),
    "an unknown layer": (manifest(lambda data: data.update(layers=["x"])), "manifest.json.layers[0]", ALL),
    "no layers": (manifest(lambda data: data.update(layers=[])), "manifest.json.layers", ALL),
    "an unknown rung": (manifest(lambda data: data.update(rung="x")), "manifest.json.rung", ALL),
    "a filter of one number": (
        manifest(lambda data: data.update(filters={"orders": [1]})), "filters.orders", ALL,
    ),
    "a number that is none": (
        text("manifest.json", b'"late_events": 0', b'"late_events": NaN'), "NaN is no number", ALL,
    ),
    "a number that is no integer": (
        text("manifest.json", b'"late_events": 0', b'"late_events": 1e308'), "manifest.json.late_events", ALL,
    ),
    "a number of a thousand digits": (
        text("manifest.json", b'"late_events": 0', b'"late_events": ' + b"9" * 1000), "late_events", ALL,
    ),
    "a number of too many digits": (
        text("manifest.json", b'"late_events": 0', b'"late_events": ' + b"9" * 9000), "manifest.json", ALL,
    ),
    "a key twice": (text("manifest.json", b"{", b'{"tool": "x", '), "the key 'tool' is there twice", ALL),
    "a manifest in Latin-1": (text("manifest.json", b"pagetide", b"\xfcbel"), "manifest.json", ALL),
    "an index in Latin-1": (text("segments.jsonl", b"zone", b"\xfcbel"), "segments.jsonl line 1", ALL),
    "an index that is a folder": (
        index_as_folder,
        "segments.jsonl", ALL,
    ),
    "a snapshot named as a path": (shot(1, name="../start"), "snapshots[1].name", ALL),
    "a snapshot named as lists": (shot(1, name="start-lists"), "snapshots[1].name", ALL),
    "a snapshot without a name": (shot(1, name=""), "snapshots[1].name", ALL),
    "a snapshot named twice": (shot(1, name="start", parts=[]), "there are two snapshots start", ALL),
    "a snapshot after the end": (
        manifest(lambda data: data["snapshots"].reverse()), "comes after the one at the end", ALL,
    ),
    "snapshots out of order": (shot(1, begin_ns=END_NS + 600, end_ns=END_NS + 601), "end begins before", ALL),
    "snapshots that overlap": (shot(1, begin_ns=START_NS), "resync-1 begins before start ends", ALL),
    "buddyinfo of a zone twice": (
        manifest(lambda data: data["snapshots"][0]["buddyinfo"].append(data["snapshots"][0]["buddyinfo"][0])),
        "snapshots[0].buddyinfo[1]", ALL,
    ),
    "buddyinfo of too few orders": (
        manifest(lambda data: data["snapshots"][0]["buddyinfo"][0]["blocks"].pop()), "blocks", ALL,
    ),
    "a snapshot that is gone": (lambda path: (path / FRAMES_FILE).unlink(), f"lacks {FRAMES_FILE}", ALL),
    "lists that are gone": (lambda path: (path / LISTS).unlink(), f"lacks {LISTS}", ALL),
    "a snapshot that is shorter": (lambda path: os.truncate(path / LISTS, 40), f"changed at {LISTS}", ALL),
    "a snapshot of another file": (
        manifest(lambda data: data["snapshots"][0]["parts"].reverse()), "snapshots[0].parts", ALL,
    ),
    "a snapshot that changed": (
        lambda path: damage.flip(path, FRAMES_FILE, 9, 3), "checksum", ("verify", "convert"),
    ),
    "an empty file": (lambda path: (path / EVENTS).write_bytes(b""), f"changed at {EVENTS}", ALL),
    "a segment by another name": (
        index(lambda lines: lines[1].update(file="events/../events/00001.parquet")), "by another name", ALL,
    ),
    "a segment of no name": (index(lambda lines: lines[1].update(file="a\0b")), "names no file", ALL),
    "a loss that ends first": (
        index(lambda lines: lines[0].update(losses=[{"begin_ns": 2, "end_ns": 1, "events": 1}])),
        "losses[0].end_ns", ALL,
    ),
    "a trace of many years": (
        manifest(lambda data: data.update(end_ns=1 << 61)), "lasts longer than a year", ("replay",),
    ),
    # Frame runs
    "runs that overlap": (rows(FRAMES_FILE, cell("pfn", 1, 4000)), f"{FRAMES_FILE} row", EVERY_FRAME),
    "a run twice": (rows(FRAMES_FILE, last_row_again), f"{FRAMES_FILE} row 2", EVERY_FRAME),
    "runs out of order": (rows(FRAMES_FILE, reverse), f"{FRAMES_FILE} row 1", EVERY_FRAME),
    "a run of nothing": (rows(FRAMES_FILE, cell("count", 0, 0)), f"{FRAMES_FILE} row 0", EVERY_FRAME),
    "a run over its chunk": (rows(FRAMES_FILE, cell("count", 0, 5000)), "leaves its chunk", EVERY_FRAME),
    "a run at no pfn": (rows(FRAMES_FILE, cell("pfn", 1, HUGE + 4096)), "40 bits", EVERY_FRAME),
    "no state": (rows(FRAMES_FILE, cell("state", 0, 5)), "frame state 5", EVERY_FRAME),
    "a read that ends first": (rows(FRAMES_FILE, cell("read_ts_ns", 0, 1)), "its read ends", EVERY_FRAME),
    "a read before its snapshot": (
        rows(FRAMES_FILE, cell("read_begin_ns", 0, -HUGE)), "its snapshot in", EVERY_FRAME,
    ),
    "a read after its snapshot": (
        rows(FRAMES_FILE, cell("read_ts_ns", 0, START_NS + 1)), "its snapshot in", EVERY_FRAME,
    ),
    # Free lists
    "lists of no zone": (rows(LISTS, cell("zone", 1, 1)), f"{LISTS} row 1", ("verify", "replay")),
    "lists of no order": (rows(LISTS, cell("order", 1, 255)), "order 255", ("verify", "replay")),
    "lists of no type": (rows(LISTS, cell("migratetype", 1, 5)), "migratetype 5", ("verify", "replay")),
    "a block on two lists": (rows(LISTS, cell("pfn", 1, 4096)), "on two lists", ("verify", "replay")),
    "a block in a block": (
        rows(LISTS, cell("order", 1, 9), cell("pfn", 1, 4608)), "on two lists", ("verify", "replay"),
    ),
    "a block that is none": (rows(LISTS, cell("pfn", 1, 5121)), "heads no block", ("verify", "replay")),
    "a block outside its zone": (rows(LISTS, cell("pfn", 3, FRAMES)), "heads no", ("verify", "replay")),
    "a block at no pfn": (rows(LISTS, cell("pfn", 3, HUGE)), "heads no block", ("verify", "replay")),
    "two blocks at one place": (rows(LISTS, cell("position", 1, 0)), "there twice", ("verify", "replay")),
    "lists read too late": (
        rows(LISTS, cell("read_ts_ns", 1, END_NS)), "its snapshot in", ("verify", "replay"),
    ),
    # Samples and counters
    "samples of no zone": (rows(SAMPLES, cell("zone", 1, 1)), f"{SAMPLES} row 1", ("verify",)),
    "samples of few orders": (rows(SAMPLES, cell("free_blocks", 1, [1])), "it has 1 orders", ("verify",)),
    "samples of many orders": (
        rows(SAMPLES, cell("free_blocks", 0, [1] * 12)), "it has 12 orders", ("verify",),
    ),
    "samples below 0": (rows(SAMPLES, cell("managed", 0, -2)), "managed -2", ("verify",)),
    "samples beyond any memory": (rows(SAMPLES, cell("free", 0, HUGE - 1)), "free 92233", ("verify",)),
    "samples with empty orders": (
        rows(SAMPLES, cell("free_blocks", 0, [None] * 11)), "empty fields", ("verify",),
    ),
    "samples out of order": (rows(SAMPLES, reverse), f"{SAMPLES} row 1", ("verify",)),
    "samples twice": (rows(SAMPLES, last_row_again), f"{SAMPLES} row 2", ("verify",)),
    "samples of a segment before": (
        rows(SAMPLES, cell("read_begin_ns", 0, START_NS)), f"{SAMPLES} row 0", ("verify",),
    ),
    "samples that overlap": (
        rows(SAMPLES, cell("read_end_ns", 0, 4_000_055)), f"{SAMPLES} row 1", ("verify",),
    ),
    "a sample that ends first": (rows(SAMPLES, cell("read_end_ns", 1, 5)), "its read ends", ("verify",)),
    "counters below 0": (rows(COUNTERS, cell("hits", 0, -1)), "hits -1", ("verify",)),
}  # fmt: skip

# Of events behind the first batch: refused, but a replay goes up to there, and tells.
PARTLY: dict[str, tuple[Damage, str]] = {
    "more rows than the index says": (index(lambda lines: lines[1].update(rows=2)), "3 rows"),
    "events before their segment": (events(cell("ts_ns", 0, 1)), f"{EVENTS} row 0"),
    "an event in 292 years": (events(cell("ts_ns", 2, HUGE - 1)), f"{EVENTS} row 2"),
    "an empty field": (events(cell("pfn", 1, None)), "empty fields"),
    "a column of no name": (no_text, "'utf-8' codec can't decode"),
    "a column of words": (with_column(EVENTS, "pfn", pa.array(["a", "b", "c"])), "not uint64"),
}

# Told: exit 3 by those commands, with the words among what they print.
TOLD: dict[str, tuple[Damage, str, tuple[str, ...]]] = {
    "more managed than there is": (zone(managed=FRAMES + 1), "8193 frames managed, but it spans 8192", ALL),
    "no start snapshot": (
        manifest(lambda data: data["snapshots"].pop(0)), "the trace begins with resync-1", ALL,
    ),
    "a zone that shrinks": (
        manifest(lambda data: data["snapshots"][2]["zones"][0].update(spanned=4096, managed=1, present=1)),
        "snapshot end: zone 0/Normal is gone or smaller than in start", ALL,
    ),
    "buddyinfo of no zone": (
        manifest(lambda data: data["snapshots"][2]["buddyinfo"][0].update(zone="X")),
        "buddyinfo tells of zone 0/X", ALL,
    ),
    "hits that are not the sum": (manifest(lambda data: data["probes"][0].update(hits=9)), "9 hits", ALL),
    "fewer events than kept": (manifest(lambda data: data["probes"][0].update(kept=6)), "are gone", ALL),
    "more events than kept": (manifest(lambda data: data["probes"][0].update(kept=4)), "no part of", ALL),
    "a segment twice": (index(lambda lines: lines.append(lines[-1])), "listed twice; read once", ALL),
    "a file twice": (same_file_again, "holds the same events as events/00001.parquet; read once", ALL),
    "rows twice": (same_rows_again, "events/00002.parquet begins before events/00001.parquet ends", ALL),
    "segments that overlap": (
        index(lambda lines: lines[0].update(last_ts_ns=4_000_001)), "their times overlap", ALL,
    ),
    "segments out of order": (index(out_of_order), "out of time order", ALL),
    "an event twice": (
        both(events(last_row_again), lambda path: damage.count_again(path, 6)), "1 events are", EVERY_EVENT,
    ),
    "a clock that goes back": (events(reverse), "time goes back at 2 events", EVERY_EVENT),
    "a pfn outside every zone": (
        events(cell("pfn", 1, FRAMES)), "1 events lie outside every zone", EVERY_EVENT,
    ),
    "a pfn beyond all": (
        events(cell("pfn", 1, 2**64 - 1024), cell("order", 1, 10)), "1 events lie outside", EVERY_EVENT,
    ),
    "a pfn near 2^63": (
        events(cell("pfn", 1, HUGE - 1024), cell("order", 1, 10)), "1 events lie outside", EVERY_EVENT,
    ),
    "an order above all": (events(cell("order", 0, 11)), "1 events have an order above 10", EVERY_EVENT),
    "an order of 64": (events(cell("order", 0, 64)), "1 events have an order above 10", EVERY_EVENT),
    "an order of 255": (events(cell("order", 0, 255)), "1 events have an order above 10", EVERY_EVENT),
    "an unknown op": (events(cell("op", 0, 200)), "1 events have an op that is not known", EVERY_EVENT),
    "op 0": (events(cell("op", 2, 0)), "1 events have an op that is not known", EVERY_EVENT),
    "a migratetype of no name": (
        events(cell("migratetype", 0, 100), cell("op", 0, 2)), "1 events have a migratetype", EVERY_EVENT,
    ),
    "a migratetype below -1": (events(cell("migratetype", 0, -9)), "1 events have a migrate", EVERY_EVENT),
    "runs outside every zone": (
        rows(FRAMES_FILE, last_row_again, cell("pfn", 2, FRAMES), cell("reported_head", 2, True)),
        "4096 frames lie outside", EVERY_FRAME,
    ),
    "zones without runs": (
        rows(FRAMES_FILE, lambda table: [values.pop() for values in table.values()]),
        "4096 frames of the zones are in no run", EVERY_FRAME,
    ),
    "a snapshot of nothing": (rows(FRAMES_FILE, no_rows), "8192 frames of the zones", EVERY_FRAME),
    "a reported head in use": (
        rows(FRAMES_FILE, cell("reported_head", 0, True)), "1 reported blocks are not", EVERY_FRAME,
    ),
    "samples of more than the zone": (
        rows(SAMPLES, cell("free_blocks", 0, [9000] * 11)), "more free frames than", ("verify",),
    ),
}  # fmt: skip


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return damage.write(tmp_path / "a.trace")


def flat(text: str) -> str:
    """Without the line breaks that a narrow terminal needs."""
    return " ".join(text.split())


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_with_its_place(whole: Path, name: str) -> None:
    spoil, words, by = REFUSED[name]
    spoil(whole)
    for command in COMMANDS:
        said = damage.said(command, whole)
        if command in by:
            assert (said.code, len(said.err.splitlines())) == (ExitCode.USAGE, 3), said
            assert words in flat(said.err)
        else:
            assert said.code in (ExitCode.DONE, ExitCode.USAGE, ExitCode.LOSSY), said


@pytest.mark.parametrize("name", PARTLY)
def test_a_replay_goes_up_to_what_cannot_be_read_and_all_else_refuses_it(whole: Path, name: str) -> None:
    spoil, words = PARTLY[name]
    spoil(whole)
    for command in EVERY_EVENT:
        said = damage.said(command, whole)
        partial = command == "replay"
        assert said.code == (ExitCode.LOSSY if partial else ExitCode.USAGE), said
        assert words in flat(said.err)
        assert ("only the 2 of" in flat(said.err)) == partial
        assert ("PARTIAL" in said.out) == partial


@pytest.mark.parametrize("name", TOLD)
def test_what_contradicts_is_told(whole: Path, name: str) -> None:
    spoil, words, by = TOLD[name]
    spoil(whole)
    for command in COMMANDS:
        said = damage.said(command, whole)
        if command in by:
            assert said.code == ExitCode.LOSSY, said
            assert words in flat(said.err), said
        else:
            assert said.code in (ExitCode.DONE, ExitCode.LOSSY), said


def test_a_whole_trace_has_nothing_to_tell(whole: Path) -> None:
    assert {command: damage.said(command, whole).code for command in COMMANDS} == dict.fromkeys(ALL, 0)


def test_a_trace_of_an_older_recorder_has_no_parts_of_snapshots(whole: Path) -> None:
    damage.edit_manifest(whole, lambda data: [shot.pop("parts") for shot in data["snapshots"]])
    assert {command: damage.said(command, whole).code for command in COMMANDS} == dict.fromkeys(ALL, 0)
    (whole / FRAMES_FILE).unlink()
    assert f"lacks {FRAMES_FILE}" in damage.said("info", whole).err


def test_a_block_that_moved_while_the_lists_were_read_is_on_two_of_them(whole: Path) -> None:
    for change in (cell("order", 1, 9), cell("pfn", 1, 4608)):
        damage.rewrite(whole, LISTS, change)
    assert "on two lists" in damage.said("replay", whole).err
    for change in (cell("read_begin_ns", 1, START_NS - 80), cell("read_ts_ns", 1, START_NS - 70)):
        damage.rewrite(whole, LISTS, change)
    assert {command: damage.said(command, whole).code for command in COMMANDS} == dict.fromkeys(ALL, 0)


def test_a_block_on_a_list_that_the_snapshot_has_in_use_is_told_of(whole: Path) -> None:
    damage.rewrite(whole, LISTS, cell("pfn", 0, 0))
    assert "1 blocks were on the free lists that are not free" in flat(damage.said("replay", whole).out)


OUTSIDE = ["a pfn outside every zone", "a pfn beyond all", "a pfn near 2^63", "an order above all"]
OUTSIDE += ["an order of 64", "an order of 255"]


@pytest.mark.parametrize(
    ("name", "count"), [*[(name, "outside") for name in OUTSIDE], ("an unknown op", "unknown_ops")]
)
def test_an_event_that_cannot_be_is_counted_and_moves_nothing(whole: Path, name: str, count: str) -> None:
    before = json.loads(damage.said("replay", whole, "--json").out)["fidelity"]
    TOLD[name][0](whole)
    for command in ("replay", "validate"):
        after = json.loads(damage.said(command, whole, "--json").out)["fidelity"]
        assert (after[count], after["steps"]) == (1, before["steps"] - 1)


def test_a_slice_knows_its_snapshots_as_a_recording_does(whole: Path, tmp_path: Path) -> None:
    part = slice_trace(open_trace(whole), tmp_path / "b.trace", 500_000, 8_000_000)
    part.verify()
    files = [[told.file for told in each.parts] for each in part.manifest.snapshots]
    assert files == [each.files for each in part.manifest.snapshots] != []
    damage.flip(part.path, "frames/resync-1.parquet", 9, 3)
    assert "checksum" in damage.said("verify", part.path).err


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize(
    "name", ["a run twice", "runs out of order", "a run of nothing", "zones without runs"]
)
def test_runs_are_looked_at_a_step_at_a_time(whole: Path, name: str, step: int, monkeypatch: Any) -> None:
    spoil, words, _ = (REFUSED | TOLD)[name]
    spoil(whole)
    monkeypatch.setattr("tracer.rows._STEP", step)
    assert words in flat(damage.said("verify", whole).err)
