"""What can no longer be read while recording is noted, and recording goes on."""

import shutil
from pathlib import Path

from tests.live.running import TIMEOUT_S, WORKLOAD, bounded_started
from tracer import Trace, open_trace
from tracer.guest.files import GuestFiles
from tracer.guest.procfs import read_zones

# Files of ours in the place of the kernel's, for one process and its children.
INSTEAD = 'for name in $1; do mount --bind "$0/$name" "/proc/$name"; done; shift; exec "$@"'
SECOND_NS = 1_000_000_000


def record_and_empty(tmp_path: Path, name: str, resync_s: int) -> Trace:
    """Record the workload for longer than two resyncs take to come; the file says nothing any more from
    where the command starts on, right behind the start snapshot.
    """
    path, ours = tmp_path / "a.trace", tmp_path / "proc"
    ours.mkdir()
    copy(name, ours / name)
    prefix = ("unshare", "--mount", "sh", "-c", INSTEAD, str(ours), name)
    settings, emptied = {"resync_ns": resync_s * SECOND_NS}, ["sh", "-c", ': >"$0"; exec "$@"', ours / name]
    command = [*emptied, *WORKLOAD, 3 * resync_s]
    with bounded_started(path, settings, *command, prefix=prefix) as recorder:
        _, err = recorder.communicate(timeout=TIMEOUT_S)
    assert recorder.returncode == 0, err
    return open_trace(path)


def copy(name: str, to: Path) -> None:
    """As much of a file of /proc as is about this guest."""
    with GuestFiles() as files, Path("/proc", name).open("rb") as source, to.open("wb") as target:
        frames = max(zone.end_pfn for zone in read_zones(files))
        if name == "kpageflags":
            target.write(source.read(8 * frames))
        else:
            shutil.copyfileobj(source, target)


def test_samples_that_cannot_be_taken_are_counted(tmp_path: Path) -> None:
    trace = record_and_empty(tmp_path, "buddyinfo", 1)
    print(trace.manifest.notes, trace.samples.num_rows)
    assert trace.manifest.status == "complete"
    assert trace.rows > 10_000
    (note,) = (note for note in trace.manifest.notes if "samples could not be read" in note)
    first_ns, last_ns = trace.segments[0].first_ts_ns, trace.segments[-1].last_ts_ns
    taken = trace.samples.num_rows / len(trace.manifest.zones)
    assert taken >= 1
    assert abs(int(note.split()[0]) + taken - (last_ns - first_ns) / SECOND_NS) <= 3


def test_a_resync_that_cannot_be_read_is_noted(tmp_path: Path) -> None:
    trace = record_and_empty(tmp_path, "kpageflags", 3)
    print(trace.manifest.notes)
    assert trace.manifest.status == "complete"
    assert trace.rows > 10_000
    assert [shot.name for shot in trace.manifest.snapshots] == ["start"]
    (note,) = (note for note in trace.manifest.notes if "snapshots could not be read" in note)
    assert int(note.split()[0]) >= 2
    assert "kpageflags" in note
