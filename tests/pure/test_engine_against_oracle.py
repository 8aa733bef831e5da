"""The fast engine and the plain-Python oracle tell the same of the same events, in every number."""

import os
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.buddy import memory
from replay.buddy.area import NOBODY
from replay.composition import SAMPLED, Composition
from replay.engine import Group, Run
from replay.exact import SECOND_NS, bucket_of
from replay.invariants import violations
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
from tests.pure.small_guests import (
    PAGE_SIZE,
    Case,
    How,
    cases,
    healed,
    listed,
    run_engine,
    run_oracle,
    searched,
)

EXAMPLES = 20_000 if os.environ.get("PAGETIDE_SOAK") else 250


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


def histogram(samples: list[tuple[int, int]]) -> dict[int, int]:
    result: dict[int, int] = {}
    for wait_ns, size in samples:
        bucket = bucket_of(wait_ns)
        result[bucket] = result.get(bucket, 0) + size // PAGE_SIZE
    return result


def buckets(row: Any) -> dict[int, int]:
    return {int(k): int(row[k]) for k in np.flatnonzero(row)}


def run_of(group: Group) -> Run:
    return Run(None, group.schedules[0], group)  # type: ignore[arg-type] # no setting is needed


def assert_same(group: Group, want: model.Outcome, policy: str) -> None:
    schedule = group.schedules[0]
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
            r["new_frames"] * PAGE_SIZE,
        )
        for r in log
    ] == want.reports
    assert buckets(s.histograms[BY_LATENCY]) == histogram([(w, b) for w, b, _ in want.latency])
    assert buckets(s.histograms[BY_MISS]) == histogram([(w, b) for w, b, _ in want.missed if w is not None])
    numbers = {
        "passes": (m["passes"], want.passes),
        "calls": (m["calls"], want.calls),
        "blocks": (m["blocks"], want.blocks),
        "bytes": (m["frames"] * PAGE_SIZE, want.bytes),
        "acknowledged": (m["acknowledged_only"] * PAGE_SIZE, want.acknowledged_only_bytes),
        "redundant": (m["redundant"] * PAGE_SIZE, want.redundant_bytes),
        "reclaimed end": (s.levels["frames"][RECLAIMED] * PAGE_SIZE, want.reclaimed_end_bytes),
        "reclaimed": (frame_ns(s.integrals, RECLAIMED) * PAGE_SIZE, want.reclaimed_byte_ns),
        "start": (m["start"] * PAGE_SIZE, want.start_bytes),
        "peak": (Result(run_of(group))._peak_frames * PAGE_SIZE, want.peak_bytes),
        "refaults": (m["refaults"], want.refault_frames),
        "held": (frame_ns(s.integrals, HELD_FRAMES), want.held_frame_ns),
        "latency": (
            frame_ns(s.integrals, LATENCY) * PAGE_SIZE,
            sum(wait * size for wait, size, _ in want.latency),
        ),
        "missed": (m["missed_units"], len(want.missed)),
        "missed bytes": (m["missed_frames"] * PAGE_SIZE, sum(size for _, size, _ in want.missed)),
        "left censored": (m["left_censored"] * PAGE_SIZE, want.left_censored_bytes),
        "waiting": (schedule.waiting_frames * PAGE_SIZE, want.unreported_end_bytes),
        "collisions": (m["collisions"], want.collision_blocks),
        "collision bytes": (m["collision_frames"] * PAGE_SIZE, want.collision_bytes),
        "failed calls": (m["failed_calls"], want.failed_calls),
        "bits": (schedule.program.imposes.get("bits", 0), want.bits),
        "inconsistent": (m["inconsistent"], 0),
        "exit_of_used": (t["exit_of_used"], want.exit_of_used),
        "entry_of_free": (t["entry_of_free"], want.entry_of_free),
        "outside": (t["outside"], want.outside),
        "corrected": (t["corrected"], want.corrected),
        "managed": (
            frame_ns(group.occupancy.integrals, memory.MANAGED) * PAGE_SIZE,
            want.managed_byte_ns,
        ),
        "free": (
            frame_ns(group.occupancy.integrals, memory.FREE) * PAGE_SIZE,
            want.free_byte_ns,
        ),
        "reportable": (
            frame_ns(group.occupancy.integrals, memory.REPORTABLE) * PAGE_SIZE,
            want.reportable_byte_ns,
        ),
    }
    assert {k: (int(a), int(b)) for k, (a, b) in numbers.items() if int(a) != int(b)} == {}
    work = {name: int(m[name]) for name in vars(want.work) if name != "tail_redirects"}
    assert work | {"tail_redirects": int(s.area.redirected[0])} == vars(want.work)
    assert lists_of(schedule) == want.lists_end
    assert_same_composition(group, want)


def assert_same_composition(group: Group, want: model.Outcome) -> None:
    """What managed memory is made of, at each bin and over time, in frames; used memory as a whole."""
    run = run_of(group)
    composition = Composition.of(run)
    series, over_time = dict(composition.series), dict(composition.frame_ns)
    assert [series.pop(part) for part in SAMPLED] == [over_time.pop(part) for part in SAMPLED] == [None, None]
    series["used"], over_time["used"] = series.pop("other_used"), over_time.pop("other_used")
    found = {part: frames.tolist() for part, frames in series.items() if frames is not None}
    assert len(want.compositions) == len(group.bins_ns)
    assert found == {part: [at[part] for at in want.compositions] for part in model.PARTS}
    assert over_time == want.part_frame_ns
    assert violations(run) == []


def hows() -> st.SearchStrategy[How]:
    upstream = st.fixed_dictionaries(
        {
            "delay": st.sampled_from([0, 1_000_000, 7_000_000, 90_000_000]),
            "capacity": st.integers(1, 5),
            "budget": st.integers(1, 3),
            "gate": st.booleans(),
            "rounding": st.sampled_from(["none", "wheel"]),
            "putback": st.sampled_from(["tail", "head"]),
        }
    )
    boundary = st.fixed_dictionaries(
        {
            "high_water": st.integers(1, 4),
            "delay": st.sampled_from([0, 300_000, 1_000_000, 7_000_000]),
            "capacity": st.integers(1, 4),
            "rounding": st.sampled_from(["none", "wheel"]),
        }
    )
    bitmap = st.fixed_dictionaries(
        {"threshold": st.sampled_from([1, 1, 2, 3, 6]), "capacity": st.integers(1, 4)}
    )
    hints = st.fixed_dictionaries(
        {
            "container": st.sampled_from(["set", "ring", "array"]),
            "size": st.integers(1, 8),
            "delay": st.sampled_from([0, 300_000, 1_000_000, 7_000_000]),
            "capacity": st.integers(1, 4),
        }
    )
    order, start = st.integers(0, 5), st.sampled_from(["steady", "cold", "recorded"])
    backing, call_ns = (
        st.sampled_from(["4k", "2m", "thp"]),
        st.sampled_from([0, 1000, 600_000, 5_000_000]),
    )
    fail_every = st.sampled_from([0, 0, 1, 2, 3])
    switches = st.lists(st.integers(1, 40_000_000), max_size=4, unique=True).map(sorted).map(tuple)
    trouble = fail_every, st.one_of(st.just(()), switches)
    hinting = st.fixed_dictionaries(
        {
            "first": st.sampled_from([0, 300_000, 2_000_000]),
            "every": st.sampled_from([0, 1_000_000, 7_000_000]),
            "capacity": st.integers(1, 4),
            "hold": st.sampled_from([0, 0, 400_000, 5_000_000]),
        }
    )
    horizon = st.fixed_dictionaries(
        {"horizon": st.sampled_from([0, 1000, 200_000, 1_000_000, 3_000_000, 40_000_000])}
    )
    plain = order, start, backing
    return st.one_of(
        st.builds(How, st.just("upstream"), *plain, upstream, call_ns, *trouble),
        st.builds(How, st.just("boundary"), *plain, boundary, call_ns, *trouble),
        st.builds(How, st.just("bitmap"), *plain, bitmap, call_ns, *trouble),
        st.builds(How, st.just("hints"), *plain, hints, call_ns, *trouble),
        st.builds(How, st.just("balloon-hinting"), *plain, hinting, call_ns, *trouble),
        st.builds(How, st.just("clairvoyant"), *plain, horizon, call_ns, *trouble),
        st.builds(How, st.sampled_from(["oracle", "never"]), *plain, st.just({}), call_ns, *trouble),
    )


def check(case: Case, how: How, batch: int, random: Any) -> None:
    if how.order > case.guest.max_order:
        return
    if how.backing in {"oracle": ["2m"], "clairvoyant": ["2m", "thp"]}.get(how.policy, []) and how.order < 3:
        return  # the oracle has no answer for units smaller than a host page
    heads = [frame for frame in case.state if random.random() < 0.5]
    want = run_oracle(case, how, heads)
    assert_same(run_engine(case, how, batch, heads), want, how.policy)


thorough = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@thorough
@given(cases(), hows(), st.integers(1, 40), st.randoms(use_true_random=False))
def test_every_number_and_list_is_the_same(case: Case, how: How, batch: int, random: Any) -> None:
    check(case, how, batch, random)


@thorough
@given(healed(), hows(), st.integers(1, 40), st.randoms(use_true_random=False))
def test_every_number_is_the_same_when_snapshots_heal_what_was_lost_or_never_known(
    case: Case, how: How, batch: int, random: Any
) -> None:
    check(case, how, batch, random)


@thorough
@given(listed(), hows(), st.integers(1, 40), st.randoms(use_true_random=False))
def test_every_number_is_the_same_when_the_lists_were_read_at_the_start(
    case: Case, how: How, batch: int, random: Any
) -> None:
    check(case, how, batch, random)


@thorough
@given(searched(), hows(), st.integers(1, 40), st.randoms(use_true_random=False))
def test_every_number_is_the_same_when_compaction_searches_the_lists(
    case: Case, how: How, batch: int, random: Any
) -> None:
    check(case, how, batch, random)
