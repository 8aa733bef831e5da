"""A grid: values for some of a policy's parameters, and every combination of them as a setting."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from typing import Any

from replay.parameters import Parameter, Value, pairs, word_of
from replay.policies import policy_named
from replay.policies.protocol import Policy, Setting
from tracer import Fault, Guest

MOST_SETTINGS = 10_000


@dataclass(frozen=True)
class Grid:
    """What is swept.

    Attributes:
        policy: of all settings.
        values: by parameter, the values it takes, in the order given.
        settings: the product, the last parameter's values changing fastest.
    """

    policy: Policy
    values: Mapping[str, tuple[Value, ...]]
    settings: list[Setting]

    @classmethod
    def of(cls, policy: str, values: Mapping[str, Iterable[Any]], guest: Guest) -> "Grid":
        """`policy`: `NAME` or `NAME:key=value,…`, fixed for all settings. `values`: by parameter, as text
        or as `replay.run` takes them.

        Raises:
            Fault: for what does not exist or cannot be, for a key or value that comes twice, for no value,
                and for more settings than anybody waits for.
        """
        name, _, rest = policy.partition(":") if isinstance(policy, str) else (policy, "", "")
        chosen, fixed = policy_named(name), pairs(rest, f"--policy {policy}")
        if not isinstance(values, Mapping) or not values:
            raise Fault(
                "nothing is swept",
                "no parameter was given several values",
                f"add --set KEY=V1,V2,...: {chosen.name} has {_names(chosen)}",
            )
        if twice := sorted(values.keys() & fixed.keys()):
            raise Fault(
                f"{twice[0]} is given twice", f"in --policy {policy} and in --set", "leave one of them out"
            )
        known = {parameter.name: parameter for parameter in chosen.parameters}
        settled = {key: _settled(chosen, known, key, given) for key, given in values.items()}
        if (count := prod(map(len, settled.values()))) > MOST_SETTINGS:
            sizes = " x ".join(str(len(each)) for each in settled.values())
            raise Fault(
                f"a grid of {count:,} settings is too large",
                f"it is {sizes}; at most {MOST_SETTINGS:,} are replayed",
                "give fewer values, or sweep one part after the other",
            )
        combinations = (dict(zip(settled, each, strict=True)) for each in product(*settled.values()))
        return cls(chosen, settled, [chosen.settle(guest, fixed | each) for each in combinations])

    @property
    def written(self) -> dict[str, list[Value]]:
        """The values as a user writes them."""
        known = {parameter.name: parameter for parameter in self.policy.parameters}
        return {key: [known[key].written(value) for value in each] for key, each in self.values.items()}


def parse_sets(texts: Sequence[str]) -> dict[str, list[str]]:
    """Values by key, from `key=v1,v2,…` as written with `--set`.

    Raises:
        Fault: for a text without `=`, a key that comes twice, and a key without values.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if not equals or not key:
            raise Fault(f"{text!r} is not key=v1,v2,...", "in --set", f"write --set {key or 'KEY'}=V1,V2")
        if key in found:
            raise Fault(f"{key} is given twice", "in two --set", f"write --set {key}=V1,V2 once")
        found[key] = values.split(",") if values else []
    return found


def _settled(
    policy: Policy, known: Mapping[str, Parameter], key: str, given: Iterable[Any]
) -> tuple[Value, ...]:
    """The values of one parameter, parsed."""
    if key not in known:
        raise Fault(
            f"policy {policy.name} has no parameter {key}",
            f"it has {_names(policy)}",
            "pagetide policies describes them",
        )
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise Fault(f"{key}={given!r} is no list of values", "in the grid", f"give {key}=[…]")
    values = [known[key].settled(value) for value in islice(given, MOST_SETTINGS + 1)]
    if not values:
        raise Fault(f"{key} has no values", f"in --set {key}=", "name one at least")
    if twice := [value for value, count in Counter(values).items() if count > 1]:
        written = word_of(known[key].written(twice[0]))
        raise Fault(f"{key}={written} comes twice", "in --set", "leave one of them out")
    return tuple(values)


def _names(policy: Policy) -> str:
    return ", ".join(parameter.name for parameter in policy.parameters)
