"""Free units and free blocks, for every reporting order, after every single event."""

import os

import numpy as np
from hypothesis import HealthCheck, given, settings

from replay.buddy.frames import free_blocks
from replay.buddy.ops import meaning_table
from replay.engine import Group, Options
from replay.geometry import Geometry
from replay.invariants import violations
from replay.policies import policy_named
from replay.state import FREE
from tests.oracle.model import FrameModel
from tests.pure.same_answer import lists_of
from tests.pure.small_guests import Case, columns, full_orders, oracle_guest, start_of
from tracer import FrameState

EXAMPLES = 2000 if os.environ.get("PAGETIDE_SOAK") else 30


def group_at(case: Case, order: int) -> Group:
    setting = policy_named("never").settle(case.guest, {"order": order})
    geometry = Geometry.of(case.guest, case.zones, order)
    meaning = meaning_table(case.guest)
    return Group(case.guest, meaning, geometry, start_of(case), case.end_ns, [setting], Options())


def free_units_of(group: Group) -> list[int]:
    units = group.schedules[0].state.units
    return [int(unit) << group.geometry.order for unit in np.flatnonzero(units["flags"] & FREE)]


def blocks_of(group: Group) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = {}
    for (zone, order, _), heads in lists_of(group.schedules[0]).items():
        found[(zone, order)] = sorted(found.get((zone, order), []) + heads)
    return found


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(full_orders())
def test_engine_agrees_with_single_frames_at_every_order(case: Case) -> None:
    oracle = FrameModel(oracle_guest(case), case.state)
    groups = [group_at(case, order) for order in range(case.guest.max_order + 1)]
    for event in case.events:
        _, kind, pfn, order, _ = event
        (oracle.enter if kind == "enter" else oracle.exit)(pfn, order)
        blocks = oracle.free_blocks()
        for group in groups:
            group.feed(columns([event]))
            reporting_order = group.geometry.order
            assert free_units_of(group) == oracle.free_units(reporting_order)
            assert blocks_of(group) == {k: v for k, v in blocks.items() if k[1] >= reporting_order}


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(full_orders())
def test_whole_snapshot_decodes_into_the_same_blocks(case: Case) -> None:
    geometry = Geometry.of(case.guest, case.zones)
    free = start_of(case).state == FrameState.BUDDY
    want = FrameModel(oracle_guest(case), case.state).free_blocks()
    for zone in range(len(case.zones)):
        for order, heads in enumerate(free_blocks(free, geometry, zone)):
            assert heads.tolist() == want.get((zone, order), [])


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(full_orders())
def test_no_invariant_breaks(case: Case) -> None:
    from replay.engine import Run

    for name in ("upstream", "oracle", "never"):
        setting = policy_named(name).settle(case.guest, {"order": 3})
        geometry = Geometry.of(case.guest, case.zones, 3)
        meaning, options = meaning_table(case.guest), Options(start="cold")
        group = Group(case.guest, meaning, geometry, start_of(case), case.end_ns, [setting], options)
        group.feed(columns(case.events))
        group.finish()
        assert violations(Run(setting, group.schedules[0], group)) == []
