"""What shards come to, event by event: streams that no guest has, cut anywhere."""

import os
from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.buddy.occupancy import Occupancy
from replay.buddy.ops import meaning_table
from replay.buddy.reduced import APPEAR, COUNT_DTYPE, REDUCED_DTYPE, RESHUFFLED, RETYPE
from replay.buddy.rules import rules_of
from replay.exact import frame_ns
from replay.geometry import Geometry
from replay.sharding import part as parts
from replay.sharding.elsewhere import SUMS
from replay.sharding.files import Rows
from replay.sharding.merging import by_time, merged, together, totals
from replay.sharding.part import Part
from replay.sharding.picking import MEANS_ITSELF, SEEN, Picker
from replay.sharding.ranges import Range, block_order
from tests.pure.small_guests import guest, zone
from tracer import FrameState, Op

KIND = list(REDUCED_DTYPE.names or ()).index("kind")
FRAMES, START_NS = 640, 1_000_000_007
ZONES = [zone("B", 300, 500), zone("A", 3, 250), zone("C", 512, FRAMES)]  # holes, and in no order
OPS = [
    *(Op.ZONE_LOCKED, Op.EXTFRAG, Op.PCPU_DRAIN, Op.PAGE_FREE, Op.ISOLATE, Op.PUT_BACK),
    *(Op.COMPACTION_ISOLATE, Op.PAGE_ALLOC, 200),
]
EXAMPLES = 3000 if os.environ.get("PAGETIDE_SOAK") else 60
thorough = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))


def stream(rng: Any, rows: int, *, wild: float) -> dict[str, Any]:
    """Events of a few blocks all over the guest, many of them twice: takings that are told twice, and such
    that only look so. Some go back in time, some cannot be.
    """
    few = rng.integers(0, FRAMES >> 3, rng.integers(1, 7)) << 3
    pfn = np.where(rng.random(rows) < wild, rng.integers(0, FRAMES + 50, rows), rng.choice(few, rows))
    weights = rng.random(len(OPS)) ** 3 + 0.001
    order = rng.choice([0, 0, 0, 1, 2, 3, 4, 5, 70], rows)
    waits = rng.choice([0, 0, 1, 1000, 600_000, 5_000_000], rows)
    back = np.where(rng.random(rows) < 0.1, rng.integers(0, 2_000_000, rows), 0)
    return {
        "ts_ns": START_NS + np.cumsum(waits) - back,
        "op": rng.choice(OPS, rows, p=weights / weights.sum()).astype(np.uint8),
        "pfn": pfn.astype(np.uint64) >> (order & 7).astype(np.uint64) << (order & 7).astype(np.uint64),
        "order": order.astype(np.uint8),
        "migratetype": rng.integers(-1, 5, rows).astype(np.int8),
        "aux": rng.integers(0, 5, rows).astype(np.uint64)
        | rng.integers(0, 6, rows).astype(np.uint64) << np.uint64(8)
        | rng.integers(0, 3, rows).astype(np.uint64) << np.uint64(16)
        | rng.integers(0, 2, rows).astype(np.uint64) << np.uint64(24),
        "cpu": rng.integers(0, 400, rows).astype(np.uint16),
    }


class Kept:
    """In place of a file: what was written, in some parts."""

    def __init__(self, dtype: Any) -> None:
        self.dtype, self.parts = dtype, list[Rows]()

    def write(self, rows: Any, sequence: Any = None) -> None:
        self.parts.append(Rows(rows["ts_ns"].copy() if sequence is None else sequence, rows.copy()))

    def batches(self, rows: int) -> Iterator[Rows]:
        keys = np.concatenate([np.empty(0, np.int64), *(part.keys for part in self.parts)])
        told = np.concatenate([np.empty(0, self.dtype), *(part.rows for part in self.parts)])
        assert (np.diff(keys) >= 0).all()
        for at in range(0, len(keys), rows):
            yield Rows(keys[at : at + rows], told[at : at + rows])


def in_whole(made: Occupancy, batches: list[Any], state: Any, correct_at: int) -> tuple[Any, Any]:
    """(reduced events, zone counts) without shards, one batch after the other."""
    events, counts = [np.empty(0, REDUCED_DTYPE)], [np.empty(0, COUNT_DTYPE)]
    for index, columns in enumerate(batches):
        told = list(_copies(made.reduce(columns)))
        if index == correct_at:
            told += _copies(made.correct(state, _amid(columns)))
        events += [part[0] for part in told]
        counts += [part[1] for part in told]
    return np.concatenate(events), np.concatenate(counts)


def _amid(columns: dict[str, Any]) -> int:
    """An instant that the clock has often passed already."""
    return int(np.median(columns["ts_ns"]))


def _copies(told: Any) -> Iterator[tuple[Any, Any]]:
    for part in told:
        yield part.events.copy(), part.counts.copy()


def in_shards(
    own: list[Range],
    make: Any,
    whole: Geometry,
    meaning: Any,
    batches: list[Any],
    state: Any,
    correct_at: int,
) -> list[tuple[Picker, Part, Kept, Kept]]:
    done = []
    for each in own:
        picker, events, counts = (
            Picker(meaning, whole, each, START_NS),
            Kept(REDUCED_DTYPE),
            Kept(COUNT_DTYPE),
        )
        part = make(Part, MEANS_ITSELF, each).goes_to(events, counts, each.first)
        sequence = 0
        for index, columns in enumerate(batches):
            part.live(picker.pick(columns), sequence)
            sequence += len(columns["ts_ns"])
            if index == correct_at:
                now_ns = picker.wait(_amid(columns))
                part.put_right(state[each.first : each.end], now_ns, sequence)
                sequence += len(ZONES)
        done.append((picker, part, events, counts))
    return done


def latest(counts: Any) -> dict[tuple[int, int], tuple[int, int]]:
    """Of each zone and millisecond, what was told last: when, and free frames."""
    return {(int(r["zone"]), int(r["ts_ns"]) // 10**6): (int(r["ts_ns"]), int(r["free"])) for r in counts}


def plain(events: Any) -> list[tuple[Any, ...]]:
    """Searches tell no CPU. An entry that is not possible, or of a frame never seen, tells its type before
    frames appear, and maybe again behind it; where its time went back, behind it alone. For policies that is
    all the same: appearing is the host's, a type is the lists'.
    """
    events["cpu"][events["kind"] == RESHUFFLED] = 0
    found: list[tuple[Any, ...]] = []
    for _, group in groupby(events.tolist(), lambda row: row[KIND] in (APPEAR, RETYPE)):
        rows = list(group)
        appear = [row for row in rows if row[KIND] == APPEAR]
        types = [row for row in rows if row[KIND] == RETYPE]
        others = rows if not appear + types else []
        found += appear + others + [row for row, _ in groupby(types)]
    return found


@thorough
@given(
    st.integers(0, 1 << 40), st.sampled_from(["5.10.0", "6.12.1"]), st.integers(0, 4), st.integers(1, 60),
    st.sampled_from([0.0, 0.2, 1.0]), st.sets(st.integers(1, 9)), st.integers(1, 40),
)  # fmt: skip
def test_shards_come_to_what_the_whole_does(
    seed: int, kernel: str, order: int, rows: int, wild: float, borders: set[int], together_rows: int
) -> None:
    rng = np.random.default_rng(seed)
    machine = guest(5, 4, None, None, kernel)
    whole, rules = Geometry.of(machine, ZONES, order), rules_of(machine)
    meaning = meaning_table(machine, [Op.ISOLATE, Op.PUT_BACK])
    begin, later = rng.choice([int(s) for s in FrameState], (2, FRAMES)).astype(np.uint8)
    batches = [stream(rng, rows, wild=wild) for _ in range(rng.integers(1, 4))]
    for one, next_ in pairwise(batches):
        next_["ts_ns"] += one["ts_ns"].max() - START_NS
    correct_at, end_ns = int(rng.integers(-1, len(batches))), max(int(batches[-1]["ts_ns"].max()), START_NS)
    bins_ns = np.unique([*rng.integers(START_NS, end_ns + 1, 5), end_ns])

    def make(kind: Any, means: Any, own: Range) -> Any:
        state = begin[own.first : own.end]
        return kind(means, own.geometry(whole), rules, state, START_NS, bins_ns)

    cuts = [0, *(border << block_order(whole) for border in sorted(borders)), FRAMES]
    own = [Range(*pair) for pair in pairwise(cuts)]
    want = make(Occupancy, meaning, Range(0, FRAMES))
    begin_free = want.zone_free()
    events, counts = in_whole(want, batches, later, correct_at)
    want.finish(end_ns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "MOST_TOGETHER", together_rows)
        shards = in_shards(own, make, whole, meaning, batches, later, correct_at)
    free = np.array([make(Part, MEANS_ITSELF, each).zone_free() for each in own])
    assert free.sum(axis=0).tolist() == begin_free.tolist()

    streams = [kept.batches(int(rng.integers(1, 9))) for _, _, kept, _ in shards]
    counted = totals([kept.batches(int(rng.integers(1, 9))) for *_, kept in shards], free)
    told = list(together(by_time(merged(streams, REDUCED_DTYPE)), counted))
    got = np.concatenate([events[:0], *(part.events for part, _ in told)])
    assert plain(got) == plain(events)
    assert latest(np.concatenate([counts[:0], *(part.counts for part, _ in told)])) == latest(counts)
    for each, until_ns in told:
        assert max([*each.events["ts_ns"], *each.counts["ts_ns"]]) == until_ns

    for picker, part, *_ in shards:
        part.finish(end_ns)
        seen = dict(zip(SEEN, picker.seen.tolist(), strict=False))
        assert [seen[name] for name in SEEN[1:]] == [int(want.totals[name][0]) for name in SEEN[1:]]
    all_parts = [part for _, part, *_ in shards]
    for name in SUMS:
        assert sum(int(part.totals[name][0]) for part in all_parts) == int(want.totals[name][0]), name
    for row in range(3):
        assert sum(frame_ns(part.integrals, row) for part in all_parts) == frame_ns(want.integrals, row)
    assert np.sum([part.series for part in all_parts], axis=0).tolist() == want.series.tolist()
    assert np.sum([part.zone_free() for part in all_parts], axis=0).tolist() == want.zone_free().tolist()
