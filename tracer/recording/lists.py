"""The order of the free lists beside each snapshot, where the kernel lets it be read."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tracer.format import Filters, Guest, Snapshot, Zone, from_json, to_json
from tracer.guest.lists import FreeLists, NoLists, Where, find
from tracer.guest.snapshot import kept_spans
from tracer.probes.calibration import PageMap
from tracer.recording.apart import apart

if TYPE_CHECKING:
    import pyarrow as pa


def open_lists(zones: list[Zone], pages: PageMap | None) -> tuple[FreeLists | None, list[str]]:
    """The lists, ready to be read without privileges; or None, and a note that says why not.

    Finding them takes far more memory than reading them, so a child does it.
    """

    def told() -> dict[str, Any]:
        try:
            return {"where": to_json(find({zone.node for zone in zones}, pages))}
        except NoLists as reason:
            return {"reason": str(reason)}

    answer = apart(told) or {"reason": "looking for them failed"}
    reason = answer.get("reason")
    if reason is None:
        try:
            return FreeLists(from_json(Where, answer["where"], "where")), []
        except NoLists as refusal:
            reason = refusal
    return None, [f"the order of the free lists is unknown: {reason}"]


def read_beside(
    lists: FreeLists, taken: Snapshot, guest: Guest, filters: Filters | None
) -> "tuple[Snapshot, pa.Table]":
    """The lists from pageblocks up, of the frames that `filters` keeps, and the snapshot that has them.

    It ends later by their reading, so that a reader hears of what moved meanwhile.

    Raises:
        NoLists: when they do not stand still.
    """
    import pyarrow as pa

    table = lists.read(taken.zones, range(guest.pageblock_order, guest.max_order + 1))
    pfn = table["pfn"].to_numpy().astype(np.int64)
    kept = np.zeros(len(pfn), bool)
    for span in kept_spans(taken.zones, filters):
        kept |= (pfn >= span.start) & (pfn < span.stop)
    return replace(taken, lists=True, end_ns=time.monotonic_ns()), table.filter(pa.array(kept))
