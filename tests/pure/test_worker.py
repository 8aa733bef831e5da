"""The instants of the guest's own reporting, and a model that follows them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay.buddy.ops import meaning_table
from replay.device import Device
from replay.engine import Group, Options, Run
from replay.geometry import Geometry
from replay.policies import own
from replay.results import Result
from replay.start import Start
from replay.worker import Worker, first_later
from tests.pure import small_traces
from tests.pure.one_policy import GIB_FRAMES, GUEST, T0, S, freed, zone
from tests.pure.small_guests import columns
from tracer import FrameState, Op, Probe, open_trace

TOLD = (Op.PASS_START, Op.PASS_END, Op.REPORT, Op.REPORTING_ISOLATE, Op.REPORTING_PUT_BACK)


def worked(path: Path, ops: list[Op], probes: tuple[Op, ...] = TOLD) -> Worker:
    """Of a trace with these events, one each nanosecond from 2,000,000 on."""
    named = [Probe(op.name, "kprobe", op, hits=ops.count(op), kept=ops.count(op)) for op in probes]
    told = small_traces.columns(range(2_000_000, 2_000_000 + len(ops)))
    told["op"] = np.array(ops, np.uint8)
    writer = small_traces.begin(path, [])
    writer.write_segment(told, named)
    writer.close(small_traces.manifest(status="complete", probes=named, rung="kprobes"))
    return Worker.of(open_trace(path))


def test_passes_begin_and_reports_end_with_their_first_put_back(tmp_path: Path) -> None:
    call = [Op.REPORTING_ISOLATE] * 2 + [Op.REPORT] + [Op.REPORTING_PUT_BACK] * 2
    found = worked(
        tmp_path / "a.trace", [Op.PASS_START, *call, *call, Op.PASS_END, Op.PASS_START, Op.PASS_END]
    )
    assert (found.passes_ns - 2_000_000).tolist() == [0, 12]
    assert (found.done_ns - 2_000_000).tolist() == [4, 9]


def test_other_events_between_isolation_and_put_back_do_not_matter(tmp_path: Path) -> None:
    ops = [Op.PASS_START, Op.REPORTING_ISOLATE, Op.ZONE_LOCKED, Op.REPORTING_PUT_BACK]
    found = worked(tmp_path / "a.trace", ops, (*TOLD, Op.ZONE_LOCKED))
    assert (found.done_ns - 2_000_000).tolist() == [3]


@pytest.mark.parametrize("lacking", [Op.PASS_START, Op.REPORTING_ISOLATE, Op.REPORTING_PUT_BACK])
def test_what_was_not_all_probed_is_not_followed(tmp_path: Path, lacking: Op) -> None:
    probes = tuple(op for op in TOLD if op != lacking)
    found = worked(tmp_path / "a.trace", [op for op in probes for _ in range(2)], probes)
    assert not len(found.passes_ns)
    assert not len(found.done_ns)


@pytest.mark.parametrize(("now_ns", "later"), [(0, 5), (5, 7), (6, 7), (7, None), (9, None)])
def test_the_next_instant_is_a_later_one(now_ns: int, later: int | None) -> None:
    never = np.iinfo(np.int64).max
    assert first_later(np.array([5, 7]), now_ns) == (never if later is None else later)
    assert first_later(np.array([], np.int64), now_ns) == never


def followed(passes_s: list[float], done_s: list[float], events: list[Any]) -> Result:
    setting = own(GUEST, 9)
    geometry = Geometry.of(GUEST, [zone(4 * GIB_FRAMES)], 9)
    state = np.full(4 * GIB_FRAMES, FrameState.USED, np.uint8)
    at = [np.array([T0 + round(each * S) for each in given], np.int64) for given in (passes_s, done_s)]
    options = Options("recorded", device=Device(), logging=True, worker=Worker(*at))
    start = Start(T0, state, np.array([], np.int64))
    group = Group(GUEST, meaning_table(GUEST), geometry, start, T0 + 60 * S, [setting], options)
    group.feed(columns([(T0 + round(at * S), kind, pfn, order, 1) for at, kind, pfn, order in events]))
    group.finish()
    return Result(Run(setting, group.schedules[0], group))


def test_passes_begin_when_the_guests_did_and_calls_last_as_long() -> None:
    reports = followed([0.5, 3.5, 5.7], [3.52, 3.59], freed(1, 70)).reports
    calls = reports.group_by("call", maintain_order=True).first()
    assert calls["submit_s"].to_list() == pytest.approx([3.5, 3.52, 5.7])
    # The last one is not told: it takes as long as the device's calls do.
    assert calls["done_s"].to_list() == pytest.approx([3.52, 3.59, 5.7006])


def test_a_report_does_not_last_until_another_pass() -> None:
    reports = followed([3.5, 5.7], [5.71], freed(1, 30)).reports
    assert reports["done_s"].unique().to_list() == pytest.approx([3.5006])


def test_a_pass_that_the_guest_did_not_make_is_not_made() -> None:
    assert len(followed([0.5], [], freed(1, 30)).reports) == 0
