"""Whatever happens, the state of the oracle stays sound under every policy that has been added."""

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.model import PARTS, Event, Outcome, Replay, simulate
from tests.oracle.policies.boundary import BoundaryReplay
from tests.oracle.reporting import Reporting
from tests.pure.oracle_toys import MS, PAGE, guest_of
from tests.pure.test_oracle import ZONES, check_host, check_lists, event_lists, states

TIMES = [0, 300_000, 2 * MS]


def params_of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"order": st.integers(0, 3), **fields})


capacity, times = st.integers(1, 4), st.sampled_from(TIMES)
POLICIES = {
    "upstream": params_of(capacity=capacity, delay_ns=times, budget=st.integers(1, 3), gate=st.booleans()),
    "boundary": params_of(capacity=capacity, delay_ns=times, high_water=st.integers(0, 3)),
    "bitmap": params_of(capacity=capacity, threshold=st.integers(1, 4)),
    "hints": params_of(
        capacity=capacity,
        delay_ns=times,
        size=st.integers(1, 5),
        container=st.sampled_from(["set", "ring", "array"]),
    ),
    "balloon-hinting": params_of(capacity=capacity, first_ns=times, every_ns=st.just(4 * MS), hold_ns=times),
    "clairvoyant": params_of(horizon_ns=times),
}
hows = st.sampled_from(sorted(POLICIES)).flatmap(lambda name: st.tuples(st.just(name), POLICIES[name]))
END = 60 * MS


@dataclass
class Watch:
    """Checks every state."""

    seen: int = 0

    def __call__(self, replay: Replay) -> None:
        self.seen += 1
        check_lists(replay)
        check_host(replay)
        flagged = {pfn for pfn, block in replay.lists.blocks.items() if block.reported}
        assert replay.told <= set(replay.since)
        for pfn in flagged:
            assert set(replay.units_of(pfn, replay.lists.blocks[pfn].order)) <= replay.told
        if isinstance(replay, Reporting) and not replay.pass_under_way:
            assert replay.batch == []
        if isinstance(replay, BoundaryReplay):
            self.check_marks(replay)

    def check_marks(self, replay: BoundaryReplay) -> None:
        """Marks are in the lists of the active zone; nothing behind them is unreported.

        Unless they were reset meanwhile: then what came to the tail lies behind the next ones.
        """
        assert replay.active is not None or not replay.lists.marks
        for key, mark in replay.lists.marks.items():
            heads = replay.lists.heads(key)
            behind = heads[heads.index(mark) :]
            assert key[0] == replay.active
            if replay.work.boundary_resets == 0:
                assert all(replay.lists.blocks[pfn].reported for pfn in behind)


def check(outcome: Outcome, policy: str, params: dict[str, Any], backing: str, fail_every: int) -> None:
    new = sum(row[6] for row in outcome.reports)
    assert outcome.reclaimed_end_bytes == outcome.start_bytes + new - outcome.refault_frames * PAGE
    assert outcome.blocks == len(outcome.reports)
    assert outcome.bytes == new + outcome.redundant_bytes + outcome.acknowledged_only_bytes
    if policy != "clairvoyant":
        assert outcome.failed_calls == (outcome.calls // fail_every if fail_every else 0)
    sampled = sum(sample[1] for sample in outcome.latency)
    unknown = sum(missed[1] for missed in outcome.missed if missed[0] is None)
    assert sampled + outcome.left_censored_bytes - unknown == new
    assert outcome.reclaimed_byte_ns <= outcome.free_byte_ns <= outcome.managed_byte_ns
    assert all(parts[part] >= 0 for parts in outcome.compositions for part in PARTS)
    assert outcome.part_frame_ns["reclaimed"] * PAGE == outcome.reclaimed_byte_ns
    assert sum(outcome.part_frame_ns.values()) * PAGE == outcome.managed_byte_ns
    work = outcome.work
    assert work.max_entries_per_lock <= work.entries_walked
    assert work.rechecks_failed <= work.hints_captured
    if params.get("container") != "array":  # a full array drops what it never captured
        assert work.hints_dropped + work.rechecks_failed <= work.hints_captured
    if backing == "4k" and policy in ("bitmap", "hints"):
        assert outcome.blocks <= work.hints_captured


@settings(max_examples=300, deadline=None)
@given(
    event_lists(st.sampled_from([-1, 0, 1, 2])) | event_lists(st.integers(-1, 4)),
    states,
    hows,
    st.sampled_from(["steady", "cold", "recorded"]),
    st.sampled_from(["4k", "2m", "thp"]),
    st.sampled_from([0, 200_000, 3 * MS]),
    st.sampled_from([0, 0, 1, 2, 3]),
    st.lists(st.integers(0, END), max_size=4),
    st.lists(st.tuples(st.integers(0, END), st.integers(0, 63)), max_size=4),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_the_state_stays_sound(
    events: list[Event],
    state: list[str],
    how: tuple[str, dict[str, Any]],
    start: str,
    backing: str,
    call_ns: int,
    fail_every: int,
    switches: list[int],
    reshuffles: list[tuple[int, int]],
    by_pageblock: bool,
    random: Any,
) -> None:
    policy, params = how
    if policy == "clairvoyant" and backing != "4k":
        params = {**params, "order": max(2, params["order"])}
    guest = guest_of(*ZONES, wm=(2, 5, 1), by_pageblock=by_pageblock, names=["Normal", "Movable"])
    told: list[Event] = [(ts, "reshuffle", pfn, 0, -1) for ts, pfn in reshuffles]
    events = sorted([*events, *told], key=lambda event: event[0])
    watch = Watch()
    outcome = simulate(
        guest, dict(enumerate(state, 3)), set(range(0, 60, 3)), 0, END, events, policy, params, start,
        backing, call_ns, observer=watch, bins_ns=[*range(MS, END, 2 * MS), END],
        cpus=[random.randrange(3) for _ in events], fail_every=fail_every, switches=sorted(switches),
    )  # fmt: skip
    assert watch.seen > sum(event[0] <= END for event in events) - len(told)
    check(outcome, policy, params, backing, fail_every)


@settings(max_examples=150, deadline=None)
@given(event_lists(st.just(-1)), states, hows, st.sampled_from([0, 200_000]))
def test_no_policy_beats_the_oracle(
    events: list[Event], state: list[str], how: tuple[str, dict[str, Any]], call_ns: int
) -> None:
    guest = guest_of(*ZONES)
    frames = dict(enumerate(state, 3))
    policy, params = how
    args = (guest, frames, set[int](), 0, END, events)
    best = simulate(*args, "oracle", {"order": params["order"]}, "steady", "4k")
    outcome = simulate(*args, policy, params, "steady", "4k", call_ns)
    if outcome.collision_blocks == 0:
        assert outcome.reclaimed_byte_ns <= best.reclaimed_byte_ns
        assert outcome.refault_frames <= best.refault_frames
    assert outcome.free_byte_ns == best.free_byte_ns


@settings(max_examples=60, deadline=None)
@given(event_lists(st.just(-1)), states, hows)
def test_a_device_that_never_was_there_gets_nothing(
    events: list[Event], state: list[str], how: tuple[str, dict[str, Any]]
) -> None:
    later = [(event[0] + 1, *event[1:]) for event in events]
    outcome = simulate(
        guest_of(*ZONES), dict(enumerate(state, 3)), set(), 0, END, later, *how, "cold", "4k", switches=[0]
    )  # fmt: skip
    assert (outcome.calls, outcome.reclaimed_byte_ns) == (0, 0)
