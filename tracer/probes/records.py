"""Records of the ring as the columns of a trace."""

from typing import TYPE_CHECKING

import numpy as np

from tracer.format import PFN_BITS, Op
from tracer.probes.program import CPU_BITS, GFP_BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray


def columns(
    records: "NDArray[np.uint64]", *, with_pid: bool = False, with_gfp: bool = False
) -> "dict[str, NDArray[np.generic]]":
    """Records (n, 3) as the trace's event columns, in the same order."""
    block, rest = records[:, 1], records[:, 2]
    # Little-endian bytes of the packed word: pfn in 0-4, then order, migratetype, op.
    packed = np.ascontiguousarray(block).view(np.uint8).reshape(-1, 8)
    aux = rest >> np.uint64(CPU_BITS)
    found: dict[str, NDArray[np.generic]] = {
        "ts_ns": records[:, 0].astype(np.int64),
        "op": packed[:, 7],
        "pfn": block & np.uint64((1 << PFN_BITS) - 1),
        "order": packed[:, 5],
        "migratetype": packed[:, 6].view(np.int8),
        "cpu": (rest & np.uint64((1 << CPU_BITS) - 1)).astype(np.uint16),
        "aux": aux,
    }
    if with_pid or with_gfp:
        owned = (packed[:, 7] == Op.PAGE_ALLOC) | (packed[:, 7] == Op.PAGE_FREE)
        who = np.where(owned, aux, np.uint64(0))
        found["aux"] = np.where(owned, np.uint64(0), aux)
        if with_pid:
            found["pid"] = (who >> np.uint64(GFP_BITS)).astype(np.uint32)
        if with_gfp:
            found["gfp"] = (who & np.uint64((1 << GFP_BITS) - 1)).astype(np.uint32)
    return found
