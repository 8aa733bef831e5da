"""The reporting policies: one file each, and the registry. Nothing else knows their names."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module

from replay.parameters import Value, pairs
from replay.policies.installed import from_entry_points
from replay.policies.protocol import Policy, Setting
from tracer import Fault, Guest

# In the order of the comparison table.
_BUILT_IN = (
    "never", "upstream", "boundary", "bitmap", "hints", "balloon_hinting", "clairvoyant", "oracle",
)  # fmt: skip
CEILING = "oracle"  # what `share_of_oracle` is a share of
OWN = "upstream"  # what a stock kernel does by itself


@cache
def _found() -> tuple[dict[str, Policy], dict[str, Fault]]:
    built_in = [import_module(f"replay.policies.{name}").POLICY for name in _BUILT_IN]
    others, faults = from_entry_points({policy.name for policy in built_in})
    return {policy.name: policy for policy in [*built_in, *others]}, faults


def registry() -> dict[str, Policy]:
    """All policies by name: the built-in ones, then those of installed entry points."""
    return _found()[0]


def unusable() -> dict[str, Fault]:
    """Why other installed policies cannot be used, by the name of their entry point."""
    return _found()[1]


def policy_named(name: str) -> Policy:
    """The policy of that name.

    Raises:
        Fault: when there is none, or it cannot be used.
    """
    if isinstance(name, str) and name not in registry() and name in unusable():
        raise unusable()[name]
    if not isinstance(name, str) or name not in registry():
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
    return policy.settle(guest, pairs(rest, f"--policy {text}"))


def comparison(guest: Guest, order: int | None = None) -> list[Setting]:
    """All policies with their defaults, all at one order."""
    given: Mapping[str, Value] = {} if order is None else {"order": order}
    return [policy.settle(guest, given) for policy in registry().values()]


def ceiling(guest: Guest, order: int) -> Setting:
    """The policy that bounds all others at this order."""
    return policy_named(CEILING).settle(guest, {"order": order})


def levers(guest: Guest) -> list[Setting]:
    """What a stock kernel does by itself, with one knob turned: each that is worth showing beside it.

    None at an order above its own, nor what its own is already.
    """
    policy = policy_named(OWN)
    usual = policy.settle(guest, {})
    turned = [policy.settle(guest, {name: knob.shown}) for name, knob in policy.knobs.items() if knob.shown]
    return [each for each in turned if each.params != usual.params and each.order <= usual.order]


def own(guest: Guest, order: int | None) -> Setting:
    """What a stock kernel's own free page reporting does, at its reporting order if that is known."""
    return policy_named(OWN).settle(guest, {} if order is None else {"order": order})
