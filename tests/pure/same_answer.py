"""The fast engine's answer held against the plain model's: every number, every list, every report."""

from typing import Any

import numpy as np

from replay.buddy import memory
from replay.buddy.area import NOBODY
from replay.composition import SAMPLED, Composition
from replay.engine import Run
from replay.exact import SECOND_NS, bucket_of
from replay.results import Result
from replay.schedule import Schedule
from replay.state import (
    BY_LATENCY,
    BY_MISS,
    HELD_FRAMES,
    LATENCY,
    MAX_ORDER,
    ORDER,
    RECLAIMED,
)
from tests.oracle import model


def frame_ns(integrals: Any, row: int) -> int:
    return int(integrals[row, 0]) * SECOND_NS + int(integrals[row, 1])


def lists_of(schedule: Schedule) -> dict[tuple[int, int, int], list[int]]:
    s = schedule.state
    found = {}
    for (zone, order, kind), ends in np.ndenumerate(s.area.lists):
        unit, heads = int(ends["head"]), []
        while unit != NOBODY:
            heads.append(unit << int(s.shape[ORDER]))
            unit = int(s.area.blocks[unit]["next"])
        if heads and order <= s.shape[MAX_ORDER]:
            found[(zone, order, kind)] = heads
    return found


def histogram(samples: list[tuple[int, int]], page: int) -> dict[int, int]:
    result: dict[int, int] = {}
    for wait_ns, size in samples:
        bucket = bucket_of(wait_ns)
        result[bucket] = result.get(bucket, 0) + size // page
    return result


def buckets(row: Any) -> dict[int, int]:
    return {int(k): int(row[k]) for k in np.flatnonzero(row)}


def assert_same(run: Run, want: model.Outcome, *, leave_out: tuple[str, ...] = ()) -> None:
    """`leave_out`: numbers that are not compared, by name."""
    group, schedule = run.group, run.schedule
    page = group.guest.page_size
    s, m, t = schedule.state, schedule.state.meters[0], group.occupancy.totals[0]
    log = [row for part in schedule.log for row in part]
    assert [
        (
            r["submit_ns"],
            r["done_ns"],
            r["call"],
            r["pass"],
            r["pfn"],
            r["order"],
            r["new_frames"] * page,
        )
        for r in log
    ] == want.reports
    assert buckets(s.histograms[BY_LATENCY]) == histogram([(w, b) for w, b, _ in want.latency], page)
    assert buckets(s.histograms[BY_MISS]) == histogram(
        [(w, b) for w, b, _ in want.missed if w is not None], page
    )
    numbers = {
        "passes": (m["passes"], want.passes),
        "calls": (m["calls"], want.calls),
        "blocks": (m["blocks"], want.blocks),
        "bytes": (m["frames"] * page, want.bytes),
        "acknowledged": (m["acknowledged_only"] * page, want.acknowledged_only_bytes),
        "redundant": (m["redundant"] * page, want.redundant_bytes),
        "reclaimed end": (s.levels["frames"][RECLAIMED] * page, want.reclaimed_end_bytes),
        "reclaimed": (frame_ns(s.integrals, RECLAIMED) * page, want.reclaimed_byte_ns),
        "start": (m["start"] * page, want.start_bytes),
        "peak": (Result(run)._peak_frames * page, want.peak_bytes),
        "refaults": (m["refaults"], want.refault_frames),
        "held": (frame_ns(s.integrals, HELD_FRAMES), want.held_frame_ns),
        "latency": (
            frame_ns(s.integrals, LATENCY) * page,
            sum(wait * size for wait, size, _ in want.latency),
        ),
        "missed": (m["missed_units"], len(want.missed)),
        "missed bytes": (m["missed_frames"] * page, sum(size for _, size, _ in want.missed)),
        "left censored": (m["left_censored"] * page, want.left_censored_bytes),
        "waiting": (schedule.waiting_frames * page, want.unreported_end_bytes),
        "collisions": (m["collisions"], want.collision_blocks),
        "collision bytes": (m["collision_frames"] * page, want.collision_bytes),
        "failed calls": (m["failed_calls"], want.failed_calls),
        "bits": (schedule.program.imposes.get("bits", 0), want.bits),
        "inconsistent": (m["inconsistent"], 0),
        "exit_of_used": (t["exit_of_used"], want.exit_of_used),
        "entry_of_free": (t["entry_of_free"], want.entry_of_free),
        "outside": (t["outside"], want.outside),
        "corrected": (t["corrected"], want.corrected),
        "managed": (
            frame_ns(group.occupancy.integrals, memory.MANAGED) * page,
            want.managed_byte_ns,
        ),
        "free": (
            frame_ns(group.occupancy.integrals, memory.FREE) * page,
            want.free_byte_ns,
        ),
        "reportable": (
            frame_ns(group.occupancy.integrals, memory.REPORTABLE) * page,
            want.reportable_byte_ns,
        ),
    }
    different = {k: (int(a), int(b)) for k, (a, b) in numbers.items() if int(a) != int(b)}
    assert [name for name in different if name not in leave_out] == [], different
    work = {name: int(m[name]) for name in vars(want.work) if name != "tail_redirects"}
    assert work | {"tail_redirects": int(s.area.redirected[0])} == vars(want.work)
    assert lists_of(schedule) == want.lists_end


def assert_same_composition(run: Run, want: model.Outcome) -> None:
    """What managed memory is made of, at each bin and over time, in frames; used memory as a whole."""
    composition = Composition.of(run)
    series, over_time = dict(composition.series), dict(composition.frame_ns)
    assert [series.pop(part) for part in SAMPLED] == [over_time.pop(part) for part in SAMPLED] == [None, None]
    series["used"], over_time["used"] = series.pop("other_used"), over_time.pop("other_used")
    found = {part: frames.tolist() for part, frames in series.items() if frames is not None}
    assert len(want.compositions) == len(run.group.bins_ns)
    assert found == {part: [at[part] for at in want.compositions] for part in model.PARTS}
    assert over_time == want.part_frame_ns
