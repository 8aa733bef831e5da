"""What a result is called in a picture or a table."""

from typing import Any

from replay.parameters import word_of
from tracer import plain


def labels(results: list[dict[str, Any]]) -> list[str]:
    """A name for each of `answer["results"]`: the policy's, with the parameters that tell it apart where the
    policy occurs more than once. No two are the same.
    """
    named = [_label(result, results) for result in results]
    return [
        f"{name} #{named[: index + 1].count(name)}" if named.count(name) > 1 else name
        for index, name in enumerate(named)
    ]


def _label(result: dict[str, Any], results: list[dict[str, Any]]) -> str:
    policy, params = result["policy"], result["params"]
    others = [each["params"] for each in results if each["policy"] == policy]
    apart = [f"{name}={word_of(value)}" for name, value in params.items() if _differs(name, others)]
    return plain(f"{policy}: {', '.join(apart)}" if apart else policy)


def _differs(name: str, params: list[dict[str, Any]]) -> bool:
    return any(each.get(name) != params[0].get(name) for each in params)
