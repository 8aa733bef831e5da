"""How right a trace is, in a word: what a reader wants to know before any other number (docs/metrics.md)."""

from dataclasses import dataclass
from typing import Any

GOOD, CARE, NO = "good", "usable with care", "do not rely on it"
WORDS = (GOOD, CARE, NO)
# Up to the first it is good, up to the second usable with care. Shares of steps, changed frames, events.
IMPOSSIBLE = (200e-6, 0.01)
WRONG = (0.001, 0.01)
LOST = (0.0, 0.001)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what, what was seen, in which of WORDS it ends."""

    what: str
    seen: str
    word: str


@dataclass(frozen=True)
class Trust:
    """A word for the whole trace, the checks it comes from (the worst decides), and what else to know."""

    word: str
    checks: list[Check]
    notes: list[str]


def trust(answer: dict[str, Any]) -> Trust:
    """Of an answer's `trace` and `fidelity`."""
    trace, fidelity = answer["trace"], answer["fidelity"]
    checks = [
        _whole(trace),
        _lost(trace["events"], trace["lost_events"]),
        _impossible(fidelity),
        _frames(fidelity),
        _start(trace),
    ]
    worst = max((check.word for check in checks), key=WORDS.index)
    return Trust(worst, checks, list(trace["warnings"]))


def _whole(trace: dict[str, Any]) -> Check:
    what = "the recording"
    if not trace["events"] or not trace["duration_s"]:
        return Check(
            what, f"{trace['events']:,} events over {trace['duration_s']:.1f} s: nothing to judge", NO
        )
    if trace["partial"] is not None:
        told = trace["partial"]
        return Check(what, f"partial, used up to there only: {told['what']}: {told['how']}", NO)
    if trace["status"] != "complete":
        return Check(what, f"{trace['status']}: it did not end by itself", CARE)
    return Check(what, "complete", GOOD)


def _lost(events: int, lost: int) -> Check:
    return Check("events lost", f"{lost:,} of {events + lost:,}", _word(lost, events + lost, LOST))


def _impossible(fidelity: dict[str, Any]) -> Check:
    """Steps that contradict the model: an exit of a frame in use, an entry of one that is free."""
    steps = fidelity["steps"] or 0
    wrong = (fidelity["exit_of_used"] or 0) + (fidelity["entry_of_free"] or 0)
    seen = f"{wrong:,} of {steps:,}"
    if steps:
        seen += f" ({wrong / steps * 1e6:,.3g} per million)"
    return Check("impossible steps", seen, _word(wrong, steps, IMPOSSIBLE))


def _frames(fidelity: dict[str, Any]) -> Check:
    what = "frames wrong at the end"
    wrong, changed = fidelity["frames_wrong"], fidelity["frames_changed"]
    if wrong is None:
        return Check(what, "not compared: that takes --check, and a snapshot at the end", CARE)
    return Check(
        what, f"{wrong:,} of {changed:,} that changed{_percent(wrong, changed)}", _word(wrong, changed, WRONG)
    )


def _percent(part: int, whole: int) -> str:
    return f" ({part / whole:.3%})" if whole else ""


def _start(trace: dict[str, Any]) -> Check:
    what = "memory at the start"
    if trace["start"] == "unknown":
        return Check(what, "not known: no snapshot of the frames was taken", CARE)
    if trace["entries_and_exits"] == "owners":
        return Check(what, "known, but only owners of pages were recorded, not the buddy lists", CARE)
    return Check(what, "known, frame by frame", GOOD)


def _word(part: int, whole: int, limits: tuple[float, float]) -> str:
    share = part / whole if whole else 0.0
    return next((word for word, limit in zip(WORDS, limits, strict=False) if share <= limit), NO)
