"""The manifest of a recording under way: what it says of snapshots, and what --keep makes it forget."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tracer.recording.retention import forget, outdated

if TYPE_CHECKING:
    from tracer.format import Manifest, Probe, Snapshot
    from tracer.recording.merger import Merger
    from tracer.writer import TraceWriter


class Ledger:
    """Kept on the encoding thread, in order with the segments, so that no slow disk holds up the drain.

    Attributes:
        manifest: as last written, but for the counters.
    """

    def __init__(
        self, writer: "TraceWriter", manifest: "Manifest", keep_ns: int | None, merger: "Merger"
    ) -> None:
        self.manifest = manifest
        self._writer, self._keep_ns, self._merger = writer, keep_ns, merger

    def note(self, shots: "list[Snapshot]", probes: "list[Probe]") -> None:
        """Snapshots that are stored by now. `probes`: their counters now; what is not stored yet is
        not lost while recording goes on.
        """
        self.manifest = replace(self.manifest, snapshots=[*self.manifest.snapshots, *shots])
        self._writer.write_manifest(replace(self.manifest, probes=probes))

    def forget_old(self, probes: "list[Probe]") -> None:
        """Remove what --keep makes old, unless files are being merged: then the next time will do."""
        keep_ns = self._keep_ns
        old = outdated(self.manifest.snapshots, keep_ns, time.monotonic_ns()) if keep_ns else []
        if old and self._merger.exclusive.acquire(blocking=False):
            try:
                self.manifest = forget(self._writer, replace(self.manifest, probes=probes), old)
            finally:
                self._merger.exclusive.release()
