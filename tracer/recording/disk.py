"""What a full disk means: nothing is begun on it, and what was begun ends in good order."""

import shutil
from pathlib import Path

from tracer.faults import ExitCode, Fault, environment
from tracer.format import Manifest
from tracer.output import output_fault
from tracer.units import human_bytes


def check_room(path: Path, least: int) -> None:
    """Refuse a disk that is too full to begin.

    Raises:
        Fault: saying how much is missing.
    """
    free = shutil.disk_usage(path.absolute().parent).free
    if free < 2 * least:
        raise environment(
            f"the disk of {path} is too full to record",
            f"{human_bytes(free)} are free; it takes {human_bytes(2 * least)} to begin",
            "free some space, record to another disk, or lower --min-free",
        )


def stopped_early(path: Path, error: OSError, manifest: Manifest) -> Fault:
    """Recording had to end; what was written is a trace, and its tail is counted as lost."""
    fault = output_fault(path, error)
    return Fault(
        f"recording stopped early: {path} could not be written any more",
        f"{fault.how}; {manifest.lost} events at the end are lost, the trace up to there is whole",
        fault.fix,
        fault.code,
    )


def disk_too_full(path: Path, least: int) -> Fault:
    """Recording ended in good order, but earlier than asked for."""
    return Fault(
        f"recording stopped early: the disk of {path} is nearly full",
        f"less than {human_bytes(least)} would have been left (--min-free); the trace is whole up to there",
        "free some space or record to another disk",
        ExitCode.ENVIRONMENT,
    )
