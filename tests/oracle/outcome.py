"""What one replay measured."""

from dataclasses import dataclass

from tests.oracle.frames import FrameModel
from tests.oracle.lists import ListKey

PARTS = ("reclaimed", "never_backed", "used", "stranded", "gated", "waiting", "held", "kept")

Composition = dict[str, int]
"""Part of managed memory -> frames, or frame ns; see ``Replay.part_of``."""

ReportRow = tuple[int, int, int, int, int, int, int]
"""(submit_ns, done_ns, call_no, pass_no, pfn, order, new_bytes); both numbers count from 1."""


@dataclass
class Work:
    """What a policy did to the allocator, and to find what it reported.

    ``max_entries_per_lock``: the most entries walked within one hold of a zone lock.
    """

    entries_walked: int = 0
    bits_scanned: int = 0
    hints_captured: int = 0
    hints_dropped: int = 0
    rechecks_failed: int = 0
    lock_takes: int = 0
    max_entries_per_lock: int = 0
    list_rotations: int = 0
    boundary_resets: int = 0
    tail_redirects: int = 0


@dataclass
class Outcome:
    """What one replay measured."""

    frames: FrameModel
    reports: list[ReportRow]
    latency: list[tuple[int, int, int]]
    missed: list[tuple[int | None, int, int]]
    left_censored_bytes: int
    unreported_end_bytes: int
    passes: int
    calls: int
    failed_calls: int
    blocks: int
    bytes: int
    redundant_bytes: int
    acknowledged_only_bytes: int
    reclaimed_end_bytes: int
    start_bytes: int
    peak_bytes: int
    reclaimed_byte_ns: int
    managed_byte_ns: int
    free_byte_ns: int
    reportable_byte_ns: int
    refault_frames: int
    held_frame_ns: int
    collision_blocks: int
    collision_bytes: int
    exit_of_used: int
    entry_of_free: int
    outside: int
    corrected: int
    work: Work
    lists_end: dict[ListKey, list[int]]
    compositions: list[Composition]
    part_frame_ns: Composition
    bits: int
    bits_of_holes: int

    @property
    def entries_walked(self) -> int:
        """Entries of free lists that were looked at."""
        return self.work.entries_walked

    @property
    def rotations(self) -> int:
        """How often a list was rotated."""
        return self.work.list_rotations

    def free_units(self, order: int) -> list[int]:
        """The wholly free units of ``order`` at the end."""
        return self.frames.free_units(order)

    def free_blocks(self) -> dict[tuple[int, int], list[int]]:
        """The maximal aligned free blocks at the end, per (zone index, order)."""
        return self.frames.free_blocks()
