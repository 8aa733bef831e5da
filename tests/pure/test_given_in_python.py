"""What Python code gives is checked like what people write: a fault names it, nothing is guessed."""

from typing import Any

import pytest

from replay.api import replay
from replay.costs import Costs
from replay.device import Device
from replay.engine import Options
from replay.policies import policy_named
from replay.state import NEVER
from tests.pure.one_policy import GUEST
from tests.pure.small_traces import write
from tracer import Fault


def refused(what: str, fault: pytest.ExceptionInfo[Fault]) -> bool:
    return str(fault.value).startswith(f"{what} is not possible\n")


@pytest.mark.parametrize(
    ("policy", "name", "value"),
    [
        ("clairvoyant", "horizon", -1),
        ("upstream", "order", 9.5),
        ("upstream", "order", True),
        ("upstream", "order", None),
        ("upstream", "capacity", 1 << 40),
        ("upstream", "budget", 0),
        ("upstream", "delay", 1.5),
        ("upstream", "delay", float("nan")),
        ("upstream", "gate", 1),
        ("upstream", "kernel", 5.7),
        ("upstream", "kernel", [1]),
        ("hints", "size", 0),
        ("bitmap", "threshold", 0),
        ("balloon-hinting", "every", -1),
    ],
)
def test_a_parameter_out_of_range_or_of_another_type_is_refused(policy: str, name: str, value: Any) -> None:
    with pytest.raises(Fault) as fault:
        policy_named(policy).settle(GUEST, {name: value})
    assert refused(f"{name}={value!r}", fault)


def test_text_and_numbers_mean_the_same_parameter() -> None:
    written = policy_named("upstream").settle(GUEST, {"order": "9", "delay": "1s", "gate": "off"})
    assert written == policy_named("upstream").settle(GUEST, {"order": 9, "delay": 10**9, "gate": False})


@pytest.mark.parametrize("name", [5, None, []])
def test_what_is_no_name_names_no_policy(name: Any) -> None:
    with pytest.raises(Fault, match="there is no policy"):
        policy_named(name)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"call_ns": -1}, "call=-1"),
        ({"call_ns": 0.5}, "call=0.5"),
        ({"call_ns": 1 << 62}, f"call={1 << 62}"),
        ({"fail_every": -1}, "fail-every=-1"),
        ({"fail_every": "2"}, "fail-every='2'"),
        ({"byte_ns": -1.0}, "byte_ns=-1.0"),
        ({"byte_ns": float("nan")}, "byte_ns=nan"),
        ({"byte_ns": 1e300}, "byte_ns=1e+300"),
        ({"registered_ns": ((5, 1),)}, "registered=5ns-1ns"),
        ({"registered_ns": ((-5, 1),)}, "registered_ns=((-5, 1),)"),
        ({"registered_ns": ((0, 1 << 70),)}, f"registered_ns=((0, {1 << 70}),)"),
        ({"registered_ns": ((0,),)}, "registered_ns=((0,),)"),
        ({"registered_ns": 5}, "registered_ns=5"),
    ],
)
def test_a_device_that_cannot_be_is_refused(given: dict[str, Any], what: str) -> None:
    with pytest.raises(Fault) as fault:
        Device(**given).check()
    assert refused(what, fault)


def test_an_instant_that_no_replay_comes_to_never_comes() -> None:
    far = Device.parse("registered=0s-2562047h")
    assert far.from_start
    assert len(far.switches_ns(10**18)) == 0
    assert Device.parse("registered=999999999999999999h-").registered_ns == ((NEVER, NEVER),)


@pytest.mark.parametrize("name", ["refault_ns", "entry_ns", "pressure"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "3", None, True])
def test_a_cost_that_is_no_number_is_refused(name: str, value: Any) -> None:
    with pytest.raises(Fault) as fault:
        Costs(discard="free", **{name: value})
    assert refused(f"{name}={value!r}", fault)


@pytest.mark.parametrize(
    "given",
    [
        {"inhibit": "x"},
        {"logging": 2},
        {"fragmentation": "no"},
        {"device": "call=1s"},
        {"threads": 0},
        {"threads": 1.5},
    ],
)
def test_an_option_of_another_type_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(Fault) as fault:
        Options(**given).check()
    [(name, value)] = given.items()
    assert refused(f"{name}={value!r}", fault)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"policies": "upstream"}, "policies='upstream'"),
        ({"policies": 5}, "policies=5"),
        ({"policies": ["upstream", None]}, "policy=None"),
        ({"policies": ["never"], "costs": {"refault_ns": 3}}, "costs={'refault_ns': 3}"),
        ({"policies": ["never"], "options": "cold"}, "options='cold'"),
    ],
)
def test_a_replay_of_something_else_is_refused(tmp_path: Any, given: dict[str, Any], what: str) -> None:
    with pytest.raises(Fault) as fault:
        replay(write(tmp_path / "a.trace"), **given)
    assert refused(what, fault)
