"""The reporting policies: one file each, and the registry. Nothing else knows their names."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from replay.parameters import Value, pairs
from replay.policies.protocol import Policy, Setting
from tracer import Fault, Guest

# In the order of the comparison table.
_BUILT_IN = ("never", "upstream", "boundary", "bitmap", "hints", "oracle")
ENTRY_POINTS = "pagetide.policies"
CEILING = "oracle"  # what `share_of_oracle` is a share of


@cache
def registry() -> dict[str, Policy]:
    """All policies by name: the built-in ones, then those of installed entry points."""
    policies = [import_module(f"replay.policies.{name}").POLICY for name in _BUILT_IN]
    policies += [entry.load() for entry in entry_points(group=ENTRY_POINTS)]
    return {policy.name: policy for policy in policies}


def policy_named(name: str) -> Policy:
    """The policy of that name.

    Raises:
        Fault: when there is none.
    """
    if name not in registry():
        raise Fault(
            f"there is no policy {name!r}",
            f"known: {', '.join(registry())}",
            "pagetide policies describes them",
        )
    return registry()[name]


def parse(text: str, guest: Guest) -> Setting:
    """A setting from `NAME` or `NAME:key=value,key=value`, defaults from the guest.

    Raises:
        Fault: for an unknown policy or parameter, or a value of the wrong form.
    """
    name, _, rest = text.partition(":")
    policy = policy_named(name)
    kinds = {parameter.name: parameter for parameter in policy.parameters}
    given: dict[str, Value] = {}
    for key, value in pairs(rest, f"--policy {text}").items():
        given[key] = kinds[key].parse(value) if key in kinds else value
    return policy.settle(guest, given)


def comparison(guest: Guest, order: int | None = None) -> list[Setting]:
    """All policies with their defaults, all at one order."""
    given: Mapping[str, Value] = {} if order is None else {"order": order}
    return [policy.settle(guest, given) for policy in registry().values()]


def ceiling(guest: Guest, order: int) -> Setting:
    """The policy that bounds all others at this order."""
    return policy_named(CEILING).settle(guest, {"order": order})
