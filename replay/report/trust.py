"""How right a trace is, in a word: what a reader wants to know before any other number (docs/metrics.md)."""

from dataclasses import dataclass
from typing import Any

GOOD, CARE, NO = "good", "usable with care", "do not rely on it"
WORDS = (GOOD, CARE, NO)
# Up to the first it is good, up to the second usable with care. Shares of steps, changed frames, events.
IMPOSSIBLE = (200e-6, 0.01)
WRONG = (0.001, 0.01)
LOST = (0.0, 0.001)


# Of a note with these words, what it means for the numbers; the others say it themselves.
CONSEQUENCES = {
    "the order of the free lists is unknown": "each list is taken to begin with its lowest page, so which "
    "pieces a policy comes to first can differ; how much memory is free does not",
    "it is still being recorded": "the numbers are of the part that is stored",
    "the recording ended early": "the numbers are of the part that is there",
    " is not recorded: ": "what else is recorded has to do; how well it does the checks above show",
    " goes unseen: ": "how much that was the checks above show",
    "left out: ": "it has no row below, the other rows are as right as without this",
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what, what was seen, in which of WORDS it ends, and what a word that
    is not good means for the numbers.
    """

    what: str
    seen: str
    word: str
    means: str = ""


@dataclass(frozen=True)
class Note:
    """Something else to know of a trace, and what it means for the numbers, where it does not say it."""

    text: str
    means: str


@dataclass(frozen=True)
class Trust:
    """A word for the whole trace and what follows from it, the checks it comes from (the worst decides),
    and what else to know.
    """

    word: str
    means: str
    checks: list[Check]
    notes: list[Note]


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
    return Trust(worst, _means(worst, checks, answer), checks, [_note(text) for text in trace["warnings"]])


def _means(word: str, checks: list[Check], answer: dict[str, Any]) -> str:
    """The consequence in a sentence."""
    why = "; ".join(check.means for check in checks if check.word == word)
    if word == GOOD:
        return (
            f"Which memory was free is right to about {_off(answer):.2g}% of what changed in the guest. What "
            "each policy does with it follows by the model's rules; CPU times are estimates."
        )
    if word == CARE:
        return f"Usable with care because {why}."
    return f"Do not decide by the numbers below: {why}."


def _off(answer: dict[str, Any]) -> float:
    """The largest share that is wrong, in percent, 0.01 at least."""
    trace, fidelity = answer["trace"], answer["fidelity"]
    impossible = (fidelity["exit_of_used"] or 0) + (fidelity["entry_of_free"] or 0)
    parts = (
        (fidelity["frames_wrong"] or 0, fidelity["frames_changed"] or 0),
        (impossible, fidelity["steps"] or 0),
        (trace["lost_events"], trace["events"] + trace["lost_events"]),
    )
    return max(0.01, *(100 * part / whole for part, whole in parts if whole))


def _note(text: str) -> Note:
    return Note(text, next((means for words, means in CONSEQUENCES.items() if words in text), ""))


def _whole(trace: dict[str, Any]) -> Check:
    what = "the recording"
    if not trace["events"] or not trace["duration_s"]:
        seen = f"{trace['events']:,} events over {trace['duration_s']:.1f} s: nothing to judge"
        return Check(what, seen, NO, "nothing happened while it was recorded")
    if trace["partial"] is not None:
        told = trace["partial"]
        seen = f"partial, used up to there only: {told['what']}: {told['how']}"
        return Check(what, seen, NO, "the rest of the recording cannot be read")
    if trace["status"] != "complete":
        seen = f"{trace['status']}: it did not end by itself"
        return Check(what, seen, CARE, "the end of the recording is missing")
    return Check(what, "complete", GOOD)


def _lost(events: int, lost: int) -> Check:
    word = _word(lost, events + lost, LOST)
    means = "events were lost, and memory they were about may be taken for free or for used wrongly"
    return Check("events lost", f"{lost:,} of {events + lost:,}", word, means)


def _impossible(fidelity: dict[str, Any]) -> Check:
    """Steps that contradict the model: an exit of a frame in use, an entry of one that is free."""
    steps = fidelity["steps"] or 0
    wrong = (fidelity["exit_of_used"] or 0) + (fidelity["entry_of_free"] or 0)
    seen = f"{wrong:,} of {steps:,}"
    if steps:
        seen += f" ({wrong / steps * 1e6:,.3g} per million)"
    means = "events contradict the model, so some of what comes and goes was not recorded"
    return Check("impossible steps", seen, _word(wrong, steps, IMPOSSIBLE), means)


def _frames(fidelity: dict[str, Any]) -> Check:
    what = "frames wrong at the end"
    wrong, changed = fidelity["frames_wrong"], fidelity["frames_changed"]
    if wrong is None:
        seen = "not compared: that takes --check, and a snapshot at the end"
        return Check(what, seen, CARE, "nothing was compared with the guest's memory at the end")
    share = _percent(wrong, changed)
    seen = f"{wrong:,} of {changed:,} that changed{share}"
    means = f"some of the frames that changed are wrong at the end{share}"
    return Check(what, seen, _word(wrong, changed, WRONG), means)


def _percent(part: int, whole: int) -> str:
    return f" ({part / whole:.3%})" if whole else ""


def _start(trace: dict[str, Any]) -> Check:
    what = "memory at the start"
    if trace["start"] == "unknown":
        seen = "not known: no snapshot of the frames was taken"
        return Check(what, seen, CARE, "memory is not counted before its first event")
    if trace["entries_and_exits"] == "owners":
        seen = "known, but only owners of pages were recorded, not the buddy lists"
        return Check(what, seen, CARE, "memory on per-CPU lists counts as free")
    return Check(what, "known, frame by frame", GOOD)


def _word(part: int, whole: int, limits: tuple[float, float]) -> str:
    share = part / whole if whole else 0.0
    return next((word for word, limit in zip(WORDS, limits, strict=False) if share <= limit), NO)
