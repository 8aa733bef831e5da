"""Policies of other distributions: found by their entry points, each of them checked."""

from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points

from replay.capabilities import MEANINGS
from replay.policies.building import where
from replay.policies.protocol import Policy
from tracer import Fault

ENTRY_POINTS = "pagetide.policies"


def from_entry_points(taken: Collection[str]) -> tuple[list[Policy], dict[str, Fault]]:
    """The policies that can be used, and by entry point why the others cannot. `taken`: names in use."""
    found: dict[str, Policy] = {}
    unusable: dict[str, Fault] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            policy = entry.load()
        except (Exception, SystemExit) as error:  # it is somebody else's code
            unusable[entry.name] = _fault(entry, where(error))
            continue
        if wrong := _wrong(policy, {*taken, *found}):
            unusable[entry.name] = _fault(entry, wrong)
        else:
            found[policy.name] = policy
    return list(found.values()), unusable


def _fault(entry: EntryPoint, how: str) -> Fault:
    of = f"the distribution {entry.dist.name}" if entry.dist else "its distribution"
    return Fault(
        f"policy {entry.name} ({entry.value}) cannot be used",
        how,
        f"mend or uninstall {of}; the other policies are there all the same",
    )


def _wrong(policy: object, taken: Collection[str]) -> str | None:
    """Why this is no policy for the registry, or None."""
    if not isinstance(policy, Policy):
        return f"it is a {type(policy).__name__}, not a replay.policies.protocol.Policy"
    if not policy.name or set(policy.name) & set(":,= \n"):
        return f"{policy.name!r} is no name that --policy could take"
    if policy.name in taken:
        return f"there is a policy {policy.name} already"
    if not any((parameter.name, parameter.kind) == ("order", "int") for parameter in policy.parameters):
        return "it has no parameter order of kind int: replay.policies.protocol.ORDER is one"
    if unknown := sorted({*policy.requires, *policy.without} - MEANINGS.keys()):
        return f"no trace can say that it has {', '.join(unknown)}: there are {', '.join(MEANINGS)}"
    return None
