"""What a result is called in a picture or a table."""

from collections import Counter
from typing import Any

from replay.parameters import word_of
from replay.policies import registry
from tracer import plain


def labels(results: list[dict[str, Any]]) -> list[str]:
    """A name for each of `answer["results"]`: the policy's, with the parameters that tell it apart where the
    policy occurs more than once and that are not its defaults. No two are the same.
    """
    named = [_label(result, results) for result in results]
    return [
        f"{name} #{named[: index + 1].count(name)}" if named.count(name) > 1 else name
        for index, name in enumerate(named)
    ]


def turned(
    result: dict[str, Any], results: list[dict[str, Any]], usual_order: int | None = None
) -> tuple[str, ...]:
    """The names of a result's parameters that are not its policy's defaults.

    `usual_order`: the guest's pageblock order. Where it is not known, it is taken to be the order of most
    results, and without one of most, none is usual. All are turned of a policy that is not installed here.
    """
    policy, params = registry().get(result["policy"]), result["params"]
    if policy is None:
        return tuple(params)
    usual = {each.name: each.written(each.default) for each in policy.parameters if each.default is not None}
    for name in policy.presets:
        usual |= policy.presets[name].get(params.get(name), {})
    for each in policy.parameters:
        if each.default is None:
            same = each.of_guest == "pageblock_order"
            of_most = usual_order if same and usual_order is not None else _of_most(each.name, results)
            usual[each.name] = of_most if same else params.get(each.name)
    return tuple(name for name, value in params.items() if name not in usual or value != usual[name])


def _of_most(name: str, results: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - a parameter's value
    """The value that more than half of all results have; None where there is none."""
    values = [result["params"][name] for result in results if name in result["params"]]
    return next((value for value, count in Counter(values).items() if 2 * count > len(values)), None)


def _label(result: dict[str, Any], results: list[dict[str, Any]]) -> str:
    policy, params = result["policy"], result["params"]
    others = [each["params"] for each in results if each["policy"] == policy]
    mine = turned(result, results)
    apart = [f"{name}={word_of(params[name])}" for name in mine if _differs(name, others)]
    return plain(f"{policy}: {', '.join(apart)}" if apart else policy)


def _differs(name: str, params: list[dict[str, Any]]) -> bool:
    return any(each.get(name) != params[0].get(name) for each in params)
