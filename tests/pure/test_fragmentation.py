"""Free memory by order over time, and snapshots that correct the model of all orders."""

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import replay
from replay.buddy.checks import violations
from replay.buddy.full import FullModel
from replay.buddy.ops import meaning_table
from replay.buddy.rules import rules_of
from replay.fragmentation import Fragmentation
from replay.geometry import Geometry
from tests.pure.small_guests import (
    T0_NS,
    Case,
    How,
    bins_of,
    columns,
    frames_of,
    guest,
    healed,
    oracle_guest,
    run_oracle,
    start_of,
    zone,
)

quick = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


def run_fragmentation(case: Case, batch: int, bins_ns: list[int]) -> Fragmentation:
    """As the engine feeds it; what must hold of lists holds after each correction."""
    geometry, start = Geometry.of(case.guest, case.zones, 0), start_of(case)
    full = FullModel(meaning_table(case.guest), geometry, rules_of(case.guest), start.state)
    for order, heads, kinds in start.lists(geometry):
        full.list_blocks(heads, kinds, order)
    told = Fragmentation(full, T0_NS, np.array(bins_ns, np.int64))
    left = case.events
    for ts_ns, state in [*case.corrections, (case.end_ns + 1, {})]:
        now = [event for event in left if event[0] <= ts_ns]
        left = left[len(now) :]
        for at in range(0, len(now), batch):
            told.feed(with_aux(columns(now[at : at + batch])))
        if state:
            told.correct(frames_of(state), ts_ns)
            assert list(violations(full.full.area)) == []
    told.finish()
    return told


def with_aux(batch: dict[str, Any]) -> dict[str, Any]:
    return batch | {"aux": np.zeros(len(batch["op"]), np.uint64)}


def free_at_bins(case: Case) -> list[int]:
    """Free frames of the guest at `bins_of`, as the plain model counts them: nothing is reported."""
    outcome = run_oracle(case, How("never", 0, "cold", "4k", {}), [])
    return [sum(parts.values()) - parts["used"] for parts in outcome.compositions]


@quick
@given(healed(), st.integers(1, 40))
def test_blocks_of_all_orders_are_all_that_is_free_at_every_bin_whatever_the_batches(
    case: Case, batch: int
) -> None:
    told = run_fragmentation(case, batch, bins_of(case))
    sizes = 1 << np.arange(told.blocks.shape[2])
    assert (told.blocks * sizes).sum(axis=(1, 2)).tolist() == free_at_bins(case)
    assert (told.blocks == run_fragmentation(case, 1000, bins_of(case)).blocks).all()


@quick
@given(healed(), st.integers(1, 40))
def test_after_a_correction_each_frame_is_what_the_snapshot_says(case: Case, batch: int) -> None:
    if not case.corrections:
        return
    ts_ns, said = case.corrections[-1]
    events = [event for event in case.events if event[0] <= ts_ns]
    cut = Case(case.guest, case.zones, case.state, events, case.end_ns, case.corrections)
    lists = run_fragmentation(cut, batch, bins_of(cut)).model.full.area
    heads = np.flatnonzero(lists.blocks["order"] >= 0)
    free = {f for head in heads for f in range(head, head + (1 << int(lists.blocks["order"][head])))}
    inside = oracle_guest(case).zone_of_range
    assert {f for f in said if inside(f, 1) is not None} & free == {
        f for f, what in said.items() if what == "free" and inside(f, 1) is not None
    }


def test_a_correction_takes_out_what_is_used_before_it_lets_in_what_is_free() -> None:
    """A frame in use in the middle of free ones splits their block; one that is free mends it."""
    case = Case(
        guest(5, 3, None, None),
        [zone("Z", 0, 64)],
        dict.fromkeys(range(64), "free") | {5: "used"},
        [],
        T0_NS + 9,
    )
    told = run_fragmentation(case, 1, [T0_NS + 9])
    before = told.model.nr_free[0].tolist()
    said = dict.fromkeys(range(64), "free") | {40: "used"}
    told.model.correct(frames_of(said))
    assert before == [1, 1, 1, 1, 1, 1]
    assert told.model.nr_free[0].tolist() == [1, 1, 1, 1, 1, 1]
    assert list(violations(told.model.full.area)) == []
    told.model.correct(frames_of(dict.fromkeys(range(64), "free")))
    assert told.model.nr_free[0].tolist() == [0, 0, 0, 0, 0, 2]


def test_free_memory_by_order_is_told_only_when_asked_for_and_adds_up_to_what_is_free() -> None:
    assert replay.run("data/database.trace", "never").fragmentation is None
    found = replay.run("data/database.trace", "never", fragmentation=True)
    frame, timeline = found.fragmentation, found.timeline
    assert frame is not None
    assert frame.columns == ["time_s", "zone", "order", "blocks"]
    shape = (len(timeline), -1)
    free = (
        (frame["blocks"].to_numpy() << frame["order"].to_numpy().astype(np.int64)).reshape(shape).sum(axis=1)
    )
    assert (free * 4096).tolist() == timeline["free_bytes"].to_list()
