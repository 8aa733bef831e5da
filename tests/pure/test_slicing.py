"""A slice is the same span of the whole: same frames, same steps, wherever it is cut."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.slicing import slice_trace
from tests.pure.small_traces import ZONES, manifest
from tests.pure.test_resyncs import outcome
from tests.pure.worlds import World, event_columns, plain, worlds, write
from tracer import Fault, Loss, Op, Probe, Trace, TraceWriter, open_trace

EXAMPLES = 2000 if os.environ.get("PAGETIDE_SOAK") else 60
thorough = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def assert_is_the_span(part: Trace, world: World, from_ns: int, to_ns: int, *, whole_begin: bool) -> None:
    """`part` holds [from_ns, to_ns) of the world."""
    part.verify()
    assert part.warnings == []
    told = plain(world, to_ns - 1)
    before = np.zeros(4, int) if whole_begin else plain(world, from_ns - 1).numbers
    if part.rows or part.start:
        assert outcome(part) == (told.free, (told.numbers - before).tolist())
    inside = [e[0] for e in world.events if (whole_begin or from_ns <= e[0]) and e[0] < to_ns]
    assert part.events.collect()["ts_ns"].to_list() == inside


def assert_right_when_cut(world: World, from_ns: int, to_ns: int, rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        trace = open_trace(write(Path(folder) / "a.trace", world))
        begin_ns, end_ns = trace.span_ns
        patch.setattr(Trace.batches, "__defaults__", (rows,))
        part = slice_trace(trace, Path(folder) / "b.trace", from_ns - begin_ns, to_ns - begin_ns)
        until_ns = to_ns if to_ns <= end_ns else 1 << 62
        assert_is_the_span(part, world, from_ns, until_ns, whole_begin=from_ns == begin_ns)


def span_of(world: World) -> tuple[int, int]:
    """The instants that a world's trace tells of."""
    times = [event[0] for event in world.events]
    first = world.start.end_ns if world.start else min(times)
    return first, max([first, *times, *(s.end_ns for s in world.resyncs), *(s.begin_ns for s in world.shots)])


@thorough
@given(worlds().filter(lambda world: world.events or world.shots), st.data(), st.integers(1, 50))
def test_a_slice_replays_as_that_span_of_the_whole(world: World, data: Any, rows: int) -> None:
    begin_ns, end_ns = span_of(world)
    from_ns = data.draw(st.integers(begin_ns, end_ns))
    assert_right_when_cut(world, from_ns, data.draw(st.integers(from_ns + 1, end_ns + 50)), rows)


@thorough
@given(worlds(unknown=False).filter(lambda world: world.resyncs), st.data(), st.integers(1, 50))
def test_a_slice_that_begins_while_a_resync_is_read_is_corrected_by_it(
    world: World, data: Any, rows: int
) -> None:
    shot = data.draw(st.sampled_from(world.resyncs))
    from_ns = data.draw(st.integers(shot.begin_ns - 1, shot.end_ns + 2))
    last_ns = span_of(world)[1]
    to_ns = data.draw(st.integers(from_ns + 1, last_ns + 50))
    if world.shots[0].end_ns <= from_ns <= last_ns:
        assert_right_when_cut(world, from_ns, to_ns, rows)


@thorough
@given(worlds(), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_slice_of_a_slice_is_a_slice_of_the_whole(world: World, shares: list[float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trace = open_trace(write(Path(folder) / "a.trace", world))
        begin_ns, end_ns = trace.span_ns
        # Outer and inner cut, in the whole's time.
        a, b, c, d = sorted(int(share * (end_ns - begin_ns)) for share in shares)
        if not 1 <= a < b < c < d:
            return
        outer = slice_trace(trace, Path(folder) / "b.trace", a, d)
        # A slice begins an instant before its first event may come.
        first_ns, last_ns = outer.span_ns
        after, until = begin_ns + b - first_ns, begin_ns + c - first_ns
        if first_ns + until > last_ns:
            return
        inner = slice_trace(outer, Path(folder) / "c.trace", after, until)
        assert_is_the_span(inner, world, begin_ns + b, begin_ns + c, whole_begin=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: Any) -> Any:
    """A trace of one second, at 100 us an event, without a resync."""
    world = World(
        [(5000 + 100_000 * k, bool(k % 2), 512 * (k % 7), 9) for k in range(10_000)],
        [],
        [3000, 3000, 4000],
    )
    return write(tmp_path_factory.mktemp("traces") / "whole.trace", world)


def cut(whole: Path, out: Path, after: int, until: int, **more: Any) -> Trace:
    return slice_trace(open_trace(whole), out, after, until, **more)


def test_a_slice_says_of_what_it_is_one_and_that_its_frames_are_the_models(
    whole: Path, tmp_path: Path
) -> None:
    part = cut(whole, tmp_path / "b.trace", 100_000_000, 300_000_000)
    notes = part.manifest.notes
    assert notes[0] == "it was imported"
    assert notes[1] == "a slice of whole.trace, from 100ms to 300ms"
    assert "are the model's" in notes[2]
    assert sum(probe.kept for probe in part.manifest.probes) == part.rows == 2000


def test_a_slice_of_the_very_beginning_has_no_new_start(whole: Path, tmp_path: Path) -> None:
    part = cut(whole, tmp_path / "b.trace", 0, 300_000_000)
    assert part.start is None
    assert len(part.manifest.notes) == 2


@pytest.mark.parametrize(
    ("after", "until", "what"),
    [
        (5, 5, "nothing lies between 5ns and 5ns"),
        (6, 5, "nothing lies between 6ns and 5ns"),
        (2_000_000_000, 3_000_000_000, "--from 2s is after the end"),
    ],
)
def test_an_empty_span_is_a_fault(whole: Path, tmp_path: Path, after: int, until: int, what: str) -> None:
    with pytest.raises(Fault, match=what):
        cut(whole, tmp_path / "b.trace", after, until)
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays_until_the_slice_is_whole(whole: Path, tmp_path: Path, monkeypatch: Any) -> None:
    out = tmp_path / "b.trace"
    cut(whole, out, 0, 300_000_000)
    with pytest.raises(Fault, match="exists already"):
        cut(whole, out, 0, 100_000_000)

    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("replay.slicing._Tally.count", fails)
    with pytest.raises(Fault, match="cannot be written"):
        cut(whole, out, 0, 100_000_000, force=True)
    assert open_trace(out).rows == 3000
    assert [path.name for path in tmp_path.iterdir()] == ["b.trace"]
    monkeypatch.undo()
    assert cut(whole, out, 0, 100_000_000, force=True).rows == 1000
    assert [path.name for path in tmp_path.iterdir()] == ["b.trace"]


@pytest.mark.parametrize("force", [False, True])
def test_a_trace_is_never_replaced_by_its_own_slice(whole: Path, tmp_path: Path, *, force: bool) -> None:
    out = tmp_path / "b.trace"
    cut(whole, out, 0, 300_000_000)
    (tmp_path / "link.trace").symlink_to(out)
    (tmp_path / "linked").symlink_to(tmp_path)
    inner = out / "inner.trace"
    cut(whole, inner, 0, 300_000_000)
    names = [out, tmp_path / "link.trace", tmp_path / "linked/b.trace", tmp_path / "linked/../b.trace", inner]
    for source in [*names[:3], inner]:
        with pytest.raises(Fault, match="is the trace that is being sliced"):
            cut(source, out, 0, 100_000_000, force=force)
    with pytest.raises(Fault, match="is the trace that is being sliced"):
        cut(out, tmp_path / "linked/b.trace", 0, 100_000_000, force=force)
    assert open_trace(out).rows == 3000


def test_a_slice_lasts_as_long_as_was_asked_for_though_its_tail_is_quiet(tmp_path: Path) -> None:
    quiet = World([(5000, True, 0, 9), (900_000_000, False, 0, 9)], [], [9])
    trace = write(tmp_path / "a.trace", quiet)
    part = cut(trace, tmp_path / "b.trace", 100, 600_000_000)
    assert part.span_ns[1] - part.span_ns[0] == 600_000_000 - 100
    again = cut(part.path, tmp_path / "c.trace", 100, 500_000_000)
    assert again.span_ns[1] - again.span_ns[0] == 500_000_000 - 100
    beyond = cut(trace, tmp_path / "d.trace", 100, 5_000_000_000)
    assert beyond.span_ns[1] == open_trace(trace).span_ns[1]


def test_a_slice_speaks_of_times_as_people_do(whole: Path, tmp_path: Path) -> None:
    part = cut(whole, tmp_path / "b.trace", 100_000_000, 5_000_000_000)
    assert part.manifest.notes[1] == "a slice of whole.trace, from 100ms to 999.9ms"
    with pytest.raises(Fault) as caught:
        cut(whole, tmp_path / "c.trace", 9_600_000_000, 9_700_000_000)
    assert "--from 9.6s" in caught.value.what
    assert caught.value.how == "the trace lasts 999.9ms"


def lossy(path: Path, losses: list[Loss], lost: tuple[int, int]) -> Path:
    """One segment of ten events, 100 ns apart, from 1000 on; two probes lost events."""
    probes = [
        Probe("a", "tracepoint", Op.ZONE_LOCKED, hits=5 + lost[0], kept=5, lost=lost[0]),
        Probe("b", "tracepoint", Op.PCPU_DRAIN, hits=6 + lost[1], kept=5, lost=lost[1], filtered=1),
    ]
    told: dict[str, Any] = {"rung": "imported", "clock": None, "probes": probes}
    writer = TraceWriter(path, manifest(**told))
    events = [(1000 + 100 * k, bool(k % 2), 512 * (k // 2), 9) for k in range(10)]
    writer.write_segment(event_columns(events), probes, losses)
    writer.close(manifest(**told, status="complete"))
    return path


@pytest.mark.parametrize(
    ("after", "until", "expected"),
    [
        (0, 150, []),
        (350, 900, []),
        (150, 350, [Loss(1200, 1300, 30)]),
        (0, 250, [Loss(1200, 1249, 30)]),
        (250, 5000, [Loss(1250, 1300, 30), Loss(1900, 1900, 10)]),
        (0, 5000, [Loss(1200, 1300, 30), Loss(1900, 1900, 10)]),
    ],
)
def test_a_slice_lost_what_its_own_losses_say(
    tmp_path: Path, after: int, until: int, expected: list[Loss]
) -> None:
    losses = [Loss(1200, 1300, 30), Loss(1900, 1900, 10)]
    part = cut(lossy(tmp_path / "a.trace", losses, (10, 30)), tmp_path / "b.trace", after, until)
    assert part.losses == expected
    told = sum(loss.events for loss in expected)
    assert part.manifest.lost == told
    for probe in part.manifest.probes:
        assert probe.hits == probe.kept + probe.lost + probe.filtered
        assert abs(probe.lost - told * (1 if probe.name == "a" else 3) / 4) < 1


def test_a_slice_keeps_the_losses_that_nothing_locates(tmp_path: Path) -> None:
    trace = lossy(tmp_path / "a.trace", [Loss(1900, 1900, 10)], (10, 30))
    assert cut(trace, tmp_path / "b.trace", 0, 500).manifest.lost == 30


def test_a_guest_that_no_memory_here_holds_is_a_fault(tmp_path: Path) -> None:
    far = [replace(ZONES[0], start_pfn=(1 << 40) - ZONES[0].spanned)]
    told: dict[str, Any] = {"rung": "imported", "clock": None, "zones": far}
    writer = TraceWriter(tmp_path / "a.trace", manifest(**told))
    writer.write_segment(event_columns([(1000, True, 0, 9), (1500, False, 0, 9)]), [])
    writer.close(manifest(**told, status="complete"))
    with pytest.raises(Fault, match="cannot be replayed on this machine"):
        cut(tmp_path / "a.trace", tmp_path / "b.trace", 100, 300)
