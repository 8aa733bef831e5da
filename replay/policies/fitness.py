"""Does a trace tell what a policy asks of it?"""

from collections.abc import Iterable, Iterator

from replay.capabilities import capabilities, in_words
from replay.policies.protocol import Setting
from tracer import Fault, Trace


def unfit(trace: Trace, setting: Setting) -> Fault | None:
    """Why a policy cannot be replayed on a trace: it asks for what the trace has not."""
    lacking = sorted(setting.policy.requires - capabilities(trace))
    if not lacking:
        return None
    return Fault(
        f"policy {setting.policy.name} cannot be replayed on {trace.place}",
        f"it needs to know {in_words(lacking)}, which the trace does not tell",
        "choose another policy, or record a trace that tells it",
    )


def refuse_unfit(trace: Trace, settings: Iterable[Setting]) -> None:
    """Refuse a policy that asks for what the trace has not.

    Raises:
        Fault: naming both.
    """
    for setting in settings:
        if fault := unfit(trace, setting):
            raise fault


def notes(trace: Trace, setting: Setting) -> Iterator[str]:
    """What a policy's result does not show, since the trace does not tell it."""
    for missing in sorted(setting.policy.without.keys() - capabilities(trace)):
        yield setting.policy.without[missing]
