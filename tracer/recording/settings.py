"""What a recording was asked to be."""

from dataclasses import dataclass

from tracer.format import Filters

SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Settings:
    """What the user asked for. Sizes in bytes, times in ns; None: not asked for.

    Attributes:
        settle_ns: wait so long between attaching the probes and the start snapshot.
        layer: buddy, frame or both.
        ring_bytes: a power of two.
        resync_ns: a snapshot this often, besides those after a loss.
        keep_ns: remove what is older than this and not needed to replay what is younger.
        max_bytes: end before the trace becomes larger.
        min_free_bytes: end when less is left on the disk.
        file_mode: of the trace's files.
    """

    duration_ns: int | None = None
    settle_ns: int = 0
    segment_ns: int = 5 * SECOND_NS
    ring_bytes: int = 64 << 20
    layer: str = "buddy"
    filters: Filters | None = None
    with_pid: bool = False
    with_gfp: bool = False
    resync_ns: int | None = None
    keep_ns: int | None = None
    max_bytes: int | None = None
    min_free_bytes: int = 64 << 20
    file_mode: int = 0o600
    force: bool = False

    @property
    def resync_interval_ns(self) -> int | None:
        """How often to take a snapshot anyway: with --keep at least each quarter of it."""
        some = [ns for ns in (self.resync_ns, self.keep_ns and self.keep_ns // 4) if ns]
        return min(some) if some else None
