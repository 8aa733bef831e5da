"""The reporting device: it fails, goes and comes; and how people write one."""

import pytest

from replay.device import Device
from replay.state import NEVER
from tests.pure.test_upstream import CALL_S, GIB_FRAMES, S, blocks_freed, replayed
from tracer import Fault

MS = 1_000_000


def test_a_device_is_written_as_keys_and_values() -> None:
    text = "call=1ms,gib=10ms,fail-every=3,registered=0s-5s+10s-"
    assert Device.parse(text) == Device(MS, 10 * MS / (1 << 30), 3, ((0, 5 * S), (10 * S, NEVER)))
    assert Device.parse("") == Device()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("speed=1", "there is no 'speed'"),
        ("call", "'call' is not key=value"),
        ("call=1ms,call=2ms", "call is given twice"),
        ("call=soon", "'soon' is not a duration"),
        ("registered=1s-x", "'x' is not a duration"),
        ("registered=0s-10s+5s-", "a device cannot register while another one is registered"),
        ("registered=5s-2s", "registered=5s-2s is not possible"),
        ("fail-every=-1", "fail-every=-1 is not possible"),
    ],
)
def test_a_device_that_cannot_be_is_refused_in_three_lines(text: str, what: str) -> None:
    with pytest.raises(Fault) as refused:
        Device.parse(text)
    assert refused.value.what == what
    assert len(str(refused.value).splitlines()) == 3


def test_a_failed_report_marks_nothing_and_ends_the_pass() -> None:
    told = replayed(blocks_freed(1, 256), device=Device(fail_every=1), end_s=4).summary
    # Two passes of one call each: at 3 s, since the blocks came back quietly only what was asked for then.
    assert told["reports"] | {"passes": 0} == {
        "passes": 0, "calls": 1, "failed": 1, "blocks": 0, "bytes": 0, "redundant_bytes": 0,
        "acknowledged_only_bytes": 0,
    }  # fmt: skip
    assert told["latency_s"]["samples"] == 0
    assert told["reclaimed"]["end_bytes"] == told["reclaimed"]["start_bytes"]
    assert told["unreported_end_bytes"] == 1 << 30


def test_blocks_of_a_failed_report_are_found_again_by_the_next_pass() -> None:
    again = (5.0, "enter", 3 * GIB_FRAMES, 9)
    result = replayed([*blocks_freed(1, 32), again], device=Device(fail_every=2))
    # One batch, and it does not fail; with two, the second fails and its blocks wait for the next request.
    assert result.summary["reports"]["failed"] == 1
    assert result.summary["unreported_end_bytes"] == 2 << 20


def test_a_collision_in_a_report_that_fails_costs_no_refault() -> None:
    taken = (3.0003, "exit", GIB_FRAMES, 0)
    summary = replayed([*blocks_freed(1, 1), taken], device=Device(fail_every=1)).summary
    assert summary["collisions"]["blocks"] == 1
    assert summary["refaults"] == {"faults": 0, "frames": 0, "bytes": 0}


def test_unregistering_cancels_the_pass_that_waits() -> None:
    gone = Device(registered_ns=((0, 2 * S),))
    assert replayed(blocks_freed(1, 64), device=gone).summary["reports"]["passes"] == 0


def test_unregistering_in_the_middle_of_a_pass_lets_it_come_to_its_end_and_queues_no_other() -> None:
    middle = int((3 + CALL_S / 2) * S)
    result = replayed(blocks_freed(1, 256), device=Device(registered_ns=((0, middle),)))
    assert result.summary["reports"]["passes"] == 1
    assert result.summary["reports"]["blocks"] == 64


def test_registering_again_asks_for_a_first_pass() -> None:
    result = replayed(
        [*blocks_freed(4, 1), (20.0, "enter", 3 * GIB_FRAMES, 9)],
        device=Device(registered_ns=((0, 2 * S), (10 * S, NEVER))),
    )
    assert result.reports["submit_s"].to_list() == pytest.approx([12, 22])


def test_a_device_that_comes_later_finds_nothing_reported() -> None:
    result = replayed([], device=Device(registered_ns=((10 * S, NEVER),)), end_s=30)
    assert result.summary["reclaimed"]["start_bytes"] == 0
    assert result.reports["submit_s"].min() == pytest.approx(12)


def test_inhibited_discards_are_acknowledged_and_nothing_comes_back() -> None:
    told = replayed(blocks_freed(1, 32), inhibit=True).summary
    assert told["reports"]["acknowledged_only_bytes"] == told["reports"]["bytes"] == 32 << 22
    assert told["reclaimed"]["peak_bytes"] == 0
    assert told["cost_s"]["discard"] == 0
    incidence = told["incidence"]
    assert incidence["reported"][-1] == incidence["missed"][-1] == 0
    assert incidence["waiting"][-1] == 1
