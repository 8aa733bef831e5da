"""What must hold at the end of every run, whatever the trace: the checker beside the state machine."""

from collections.abc import Iterator

import numpy as np

from replay.buddy.checks import covered
from replay.buddy.checks import violations as list_violations
from replay.engine import Run
from replay.state import FREE, GRANULE_ORDER, State


def violations(run: Run) -> list[str]:
    """Each broken invariant, in words; empty when all hold."""
    state = run.schedule.state
    return [*_units(state), *list_violations(state.area), *_host(state), *_reports(state), *_across(run)]


def _units(state: State) -> Iterator[str]:
    """Listed and held blocks cover exactly the wholly free units, each once."""
    free = (state.units["flags"] & FREE) != 0
    if wrong := int((covered(state.area) != free).sum()):
        yield f"{wrong} units are free and on no list, or on one and not free"
    if state.meters["inconsistent"][0]:
        yield f"{int(state.meters['inconsistent'][0])} recorded exits found no block"


def _host(state: State) -> Iterator[str]:
    """The host lacks no more than there is, and its sums agree with its parts."""
    size = 1 << int(state.shape[GRANULE_ORDER])
    lacking = state.granules["away"].astype(np.int64) + state.granules["fresh"]
    if (lacking > size).any():
        yield "the host lacks more frames of a granule than it has"
    if int(state.granules["away"].sum()) != int(state.meters["reclaimed"][0]):
        yield "the reclaimed total is not the sum over granules"
    if int(state.pages["away"].sum()) != int(state.meters["reclaimed"][0]):
        yield "the reclaimed total is not the sum over host pages"


def _reports(state: State) -> Iterator[str]:
    """Every reported frame was new, redundant or only acknowledged."""
    m = state.meters[0]
    new = int(m["reclaimed"]) + int(m["refaults"]) - int(m["start"])
    if int(m["frames"]) != new + int(m["redundant"]) + int(m["acknowledged_only"]):
        yield "reported frames are not the sum of new, redundant and acknowledged ones"


def _across(run: Run) -> Iterator[str]:
    """Both steps hold the same units free."""
    order = run.group.geometry.order
    free = int(((run.schedule.state.units["flags"] & FREE) != 0).sum()) << order
    if free != int(run.group.occupancy.totals["reportable"][0]):
        yield "the two steps disagree on which units are wholly free"
