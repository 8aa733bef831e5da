"""What the trace's samples tell of memory in use: the page cache, and what is on per-CPU lists."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tracer import Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Sampled:
    """Frames of the page cache and of the per-CPU lists at each bin, int64: of the last sample that
    was read by then; before the first one, of that. None: not known.
    """

    page_cache: "NDArray[np.int64] | None" = None
    on_pcp: "NDArray[np.int64] | None" = None

    @classmethod
    def of(cls, trace: Trace, bins_ns: "NDArray[np.int64]") -> "Sampled":
        """Nothing is known where the trace has no samples, where the kernel does not show a value (-1),
        or where what is on per-CPU lists counts as free.

        Raises:
            Fault: when the samples cannot be read.
        """
        samples = trace.samples
        if not samples.num_rows or trace.owners_only:
            return cls()
        cache, pcp = samples["nr_file_pages"].to_numpy(), samples["pcp"].to_numpy()
        seconds, row, second = np.unique(
            samples["read_end_ns"].to_numpy(), return_index=True, return_inverse=True
        )
        place = np.maximum(np.searchsorted(seconds, bins_ns, "right") - 1, 0)
        summed = np.zeros(len(seconds), np.int64)
        np.add.at(summed, second, pcp)
        # The page cache is the whole guest's, the same in each zone's row of one second.
        return cls(
            None if (cache < 0).any() else cache[row][place],
            None if (pcp < 0).any() else summed[place],
        )
