"""What each trace is replayed under, as text: settings are settled where the trace is open."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from replay.parameters import Value, pairs, word_of
from replay.policies import policy_named
from tracer import Fault


def spelled(policies: Sequence[str], sets: Mapping[str, Iterable[Any]] | None = None) -> tuple[str, ...]:
    """Each policy with each combination of `sets`, values by parameter.

    Raises:
        Fault: for a policy, parameter or value that does not exist, for one that is there twice, and for
            `sets` without a policy.
    """
    if isinstance(policies, str) or not all(isinstance(each, str) for each in policies):
        raise Fault(
            "policies are not given as text", repr(policies), "give a list like ['upstream:delay=1s']"
        )
    values = {key: tuple(each) for key, each in (sets or {}).items()}
    if values and not policies:
        raise Fault("nothing is swept", "--set has no --policy", "name the policy whose parameter it is")
    texts = [_text(policy, combination) for policy in policies for combination in _combinations(values)]
    for text in texts:
        if texts.count(text) > 1:
            raise Fault(f"{text} is there twice", "in --policy and --set", "leave one of them out")
    return tuple(texts)


def _combinations(values: Mapping[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [dict(zip(values, each, strict=True)) for each in product(*values.values())]


def _text(policy: str, more: Mapping[str, Value]) -> str:
    """One setting, checked but for what depends on the guest."""
    name, _, rest = policy.partition(":")
    chosen, given = policy_named(name), pairs(rest, f"--policy {policy}")
    if twice := sorted(given.keys() & more.keys()):
        raise Fault(
            f"{twice[0]} is given twice", f"in --policy {policy} and in --set", "leave one of them out"
        )
    known = {parameter.name: parameter for parameter in chosen.parameters}
    for key in [*given, *more]:
        if key not in known:
            how = f"it has {', '.join(known)}"
            raise Fault(f"policy {name} has no parameter {key}", how, "pagetide policies describes them")
    written = {key: known[key].written(known[key].settled(value)) for key, value in {**given, **more}.items()}
    rest = ",".join(f"{key}={word_of(value)}" for key, value in written.items())
    return f"{name}:{rest}" if rest else name
