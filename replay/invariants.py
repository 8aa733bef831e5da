"""What must hold at the end of every run, whatever the trace: the checker beside the state machine."""

from collections.abc import Iterator

import numpy as np

from replay.buddy import memory
from replay.buddy.checks import covered
from replay.buddy.checks import violations as list_violations
from replay.composition import Composition
from replay.engine import Run
from replay.exact import frame_ns
from replay.parts import backed_in_unit, part_of
from replay.state import (
    FREE,
    GRANULE_ORDER,
    LEVELS,
    NEVER_BACKED,
    PART_GATED,
    PART_WAITING,
    RECLAIMED,
    State,
)


def violations(run: Run) -> list[str]:
    """Each broken invariant, in words; empty when all hold."""
    state = run.schedule.state
    found = [*_units(state), *list_violations(state.area), *_host(state), *_reports(state)]
    return [*found, *_parts(state), *_composition(run), *_occupancy(run), *_full(run), *_across(run)]


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
    if int(state.granules["away"].sum()) != int(state.levels["frames"][RECLAIMED]):
        yield "the reclaimed total is not the sum over granules"
    if int(state.pages["away"].sum()) != int(state.levels["frames"][RECLAIMED]):
        yield "the reclaimed total is not the sum over host pages"


def _reports(state: State) -> Iterator[str]:
    """Every reported frame was new, redundant or only acknowledged."""
    m = state.meters[0]
    new = int(state.levels["frames"][RECLAIMED]) + int(m["refaults"]) - int(m["start"])
    if int(m["frames"]) != new + int(m["redundant"]) + int(m["acknowledged_only"]):
        yield "reported frames are not the sum of new, redundant and acknowledged ones"


def _parts(state: State) -> Iterator[str]:
    """Each part that is kept up to date is what a count of its units finds."""
    free = np.flatnonzero(state.units["flags"] & FREE)
    counted = np.zeros(LEVELS, np.int64)
    for unit in free:
        counted[part_of(state, unit)] += backed_in_unit(state, unit)
    counted[RECLAIMED] = state.granules["away"].sum(dtype=np.int64)
    counted[NEVER_BACKED] = state.granules["fresh"].sum(dtype=np.int64)
    if not np.array_equal(counted, state.levels["frames"]):
        yield f"the parts of free memory are {state.levels['frames'].tolist()}, not {counted.tolist()}"
    untold = int(state.zones["untold"].sum())
    if untold != int(counted[PART_GATED] + counted[PART_WAITING]):
        yield "the zones' untold frames are not those gated or waiting"


def _composition(run: Run) -> Iterator[str]:
    """The parts of managed memory add up to it at each bin and over time, and none is negative."""
    parts, step1 = Composition.of(run), run.group.occupancy
    known = [series for series in parts.series.values() if series is not None]
    if any((series < 0).any() for series in known):
        yield "a part of managed memory is negative"
    if not np.array_equal(sum(known), step1.series[memory.MANAGED]):
        yield "the parts of managed memory do not add up to it"
    times = [total for total in parts.frame_ns.values() if total is not None]
    if min(times) < 0 or sum(times) != frame_ns(step1.integrals, memory.MANAGED):
        yield "the parts of managed memory over time do not add up to it"


def _occupancy(run: Run) -> Iterator[str]:
    """Step 1's sums agree with its frames."""
    occupancy = run.group.occupancy
    free = occupancy.free_frames()
    if free != int(occupancy.totals["free"][0]) or free != int(occupancy.zone_free().sum()):
        yield "the number of free frames is not that of the frames that are free"


def _full(run: Run) -> Iterator[str]:
    """The full model's lists hold together, and have exactly the free frames of step 1."""
    if run.fragmentation is None:
        return
    area = run.fragmentation.model.full.area
    yield from list_violations(area)
    orders = np.arange(area.nr_free.shape[1])
    if int((area.nr_free << orders).sum()) != run.group.occupancy.free_frames():
        yield "the full model and step 1 disagree on how much is free"


def _across(run: Run) -> Iterator[str]:
    """Both steps hold the same units free."""
    order = run.group.geometry.order
    free = int(((run.schedule.state.units["flags"] & FREE) != 0).sum()) << order
    if free != int(run.group.occupancy.totals["reportable"][0]):
        yield "the two steps disagree on which units are wholly free"
