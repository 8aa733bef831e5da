"""What a policy's work costs: prices by hand, and the words of `--host`."""

import dataclasses

import pytest

from replay.costs import Costs, Counts, cost_s
from replay.parameters import values
from tracer import Fault

WORK = dict.fromkeys(
    (
        "entries_walked",
        "bits_scanned",
        "hints_captured",
        "hints_dropped",
        "rechecks_failed",
        "lock_takes",
        "max_entries_per_lock",
        "list_rotations",
        "boundary_resets",
        "tail_redirects",
    ),
    0,
)
NOTHING = Counts(0, 0, 0, 0, 0, False, 0, WORK)
ROUND = Costs(  # numbers to reckon with
    refault_ns=1_000,
    zero_byte_ns=0.5,
    call_ns=100,
    dontneed_byte_ns=0.25,
    dontneed_huge_byte_ns=0.125,
    free_byte_ns=0.0625,
    free_huge_byte_ns=0.03125,
    entry_ns=10,
    bit_ns=0.5,
    lock_ns=20,
    hint_ns=30,
    move_ns=40,
    rotation_ns=50,
)
FREE = dataclasses.replace(ROUND, discard="free")


def cost(costs=ROUND, work=(), **counts) -> dict[str, float]:
    asked = dataclasses.replace(NOTHING, work={**WORK, **dict(work)}, **counts)
    return cost_s(costs, asked)


def parsed(text: str) -> Costs:
    return Costs.of(values(text, Costs.parameters, "--host"))


def refusal(text: str) -> list[str]:
    with pytest.raises(Fault) as caught:
        parsed(text)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    return lines


def test_nothing_done_costs_nothing():
    assert cost() == {"device": 0, "discard": 0, "refault": 0, "walk": 0, "total": 0}


def test_a_discard_is_a_call_and_its_bytes():
    told = cost(discards=4, discarded_bytes=8 << 20)
    assert told["discard"] == pytest.approx((4 * 100 + (8 << 20) * 0.25) / 1e9)
    assert told["total"] == told["discard"]


def test_discarding_what_is_not_backed_costs_the_call_only():
    assert cost(discards=32)["discard"] == pytest.approx(3_200 / 1e9)


def test_huge_pages_are_discarded_at_their_own_price():
    assert cost(discarded_bytes=1 << 20, huge=True)["discard"] == pytest.approx((1 << 20) * 0.125 / 1e9)
    assert cost(FREE, discarded_bytes=1 << 20)["discard"] == pytest.approx((1 << 20) * 0.0625 / 1e9)
    assert cost(FREE, discarded_bytes=1 << 20, huge=True)["discard"] == pytest.approx((1 << 20) / 32 / 1e9)


def test_a_refault_is_a_fault_and_the_zeroing_of_what_it_brings():
    small = cost(faults=512, refaulted_bytes=2 << 20)["refault"]
    huge = cost(faults=1, refaulted_bytes=2 << 20, huge=True)["refault"]
    assert small == pytest.approx((512 * 1_000 + (2 << 20) * 0.5) / 1e9)
    assert small - huge == pytest.approx(511 * 1_000 / 1e9)


def test_freed_memory_is_a_refault_only_as_far_as_pressure_took_it():
    whole = cost(faults=10, refaulted_bytes=40_960)["refault"]
    assert cost(FREE, faults=10, refaulted_bytes=40_960)["refault"] == 0
    for share in (0.25, 1):
        some = dataclasses.replace(FREE, pressure=share)
        assert cost(some, faults=10, refaulted_bytes=40_960)["refault"] == pytest.approx(share * whole)


@pytest.mark.parametrize(
    ("name", "each_ns"),
    [
        ("entries_walked", 10),
        ("rechecks_failed", 10),
        ("bits_scanned", 0.5),
        ("lock_takes", 20),
        ("hints_captured", 30),
        ("list_rotations", 50),
        ("hints_dropped", 0),
        ("max_entries_per_lock", 0),
        ("boundary_resets", 0),
        ("tail_redirects", 0),
    ],
)
def test_each_step_of_the_guest_has_its_price(name, each_ns):
    assert cost(work={name: 7})["walk"] == pytest.approx(7 * each_ns / 1e9)


def test_an_entry_that_is_moved_is_not_visited_too():
    assert cost(work={"entries_walked": 70}, moves=64)["walk"] == pytest.approx((6 * 10 + 64 * 40) / 1e9)
    # A policy of hints walks nothing: it finds the blocks it moves by themselves.
    assert cost(moves=64)["walk"] == pytest.approx(64 * 40 / 1e9)


def test_total_is_cpu_so_the_wait_for_the_device_is_not_in_it():
    done = {"discards": 1, "discarded_bytes": 4096, "faults": 1, "refaulted_bytes": 4096}
    told = cost(work={"lock_takes": 5}, wait_ns=600_000, **done)
    assert told["device"] == pytest.approx(0.0006)
    assert told["total"] == pytest.approx((100 + 1_024 + 1_000 + 2_048 + 100) / 1e9)


def test_defaults_give_back_the_published_refaults():
    costs = Costs()
    assert costs.refault_ns + 4096 * costs.zero_byte_ns == pytest.approx(3_761, rel=0.01)
    assert costs.refault_ns + (2 << 20) * costs.zero_byte_ns == pytest.approx(358_855, rel=0.01)


def test_no_words_are_the_defaults():
    assert parsed("") == Costs()


def test_words_of_the_host_are_taken():
    assert parsed("discard=free,pressure=0.25,refault=2us") == Costs(
        discard="free", pressure=0.25, refault_ns=2_000
    )
    assert parsed("refault=1500ns") == Costs(refault_ns=1_500)
    assert parsed("discard=free,pressure=1").taken == 1
    assert parsed("discard=free").taken == 0
    assert parsed("discard=dontneed").taken == 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("discard=lazy", "discard=lazy is not possible"),
        ("discard=free,pressure=1.5", "pressure=1.5 is not possible"),
        ("discard=free,pressure=-0.5", "pressure=-0.5 is not possible"),
        ("discard=free,pressure=nan", "pressure=nan is not possible"),
        ("discard=free,pressure=", "pressure= is not possible"),
        ("discard=free,pressure=50%", "pressure=50% is not possible"),
        ("discard=free,pressure=²", "pressure=² is not possible"),
        ("pressure=0.5", "pressure=0.5 says nothing of discard=dontneed"),
        ("refault=2", "'2' is not a duration"),
        ("refault=2s", "refault=2s is not possible"),
        ("colour=red", "there is no 'colour'"),
        ("discard", "'discard' is not key=value"),
    ],
)
def test_other_words_are_refused_in_three_lines(text, what):
    assert refusal(text)[0] == what


def test_python_is_refused_the_same():
    for wrong in ({"discard": "lazy"}, {"pressure": 0.5}, {"discard": "free", "pressure": 2.0}):
        with pytest.raises(Fault):
            Costs(**wrong)
    assert Costs(discard="free", pressure=1e-5).taken == 1e-5
