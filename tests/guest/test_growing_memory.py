"""Memory that is added to a stock guest while it is recorded: it gives a zone its first frames, and then
makes that zone longer.
"""

import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay import replay, run, validate
from tests.appearing import first_entries, grown_frames, managed_by_second, reports_of_untouched_blocks
from tests.guest.machine import SHORT_S, Machine
from tests.guest.running import pagetide
from tracer import Op, Trace, open_trace

DIMM_MIB = 256
PROMPT = b"(qemu) "
GROWING = [sys.executable, str(Path(__file__).parent / "growing.py")]
ONLINE = "echo online >/sys/devices/system/memory/auto_online_blocks"


@dataclass
class Monitor:
    """QEMU's, on a socket."""

    path: Path
    _said: str = field(default="")

    def add(self, name: str) -> None:
        """Plug in a memory module."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(SHORT_S)
            line.connect(str(self.path))
            self._hear(line)
            for command in (
                f"object_add memory-backend-ram,id=m-{name},size={DIMM_MIB}M",
                f"device_add pc-dimm,id={name},memdev=m-{name}",
            ):
                line.sendall(f"{command}\n".encode())
                self._hear(line)
        assert "Error" not in self._said, self._said

    def _hear(self, line: socket.socket) -> None:
        """All it says until it asks for the next command."""
        said = b""
        while not said.endswith(PROMPT):
            got = line.recv(1 << 16)
            assert got, f"the monitor is gone; it said: {self._said}{said!r}"
            said += got
        self._said += said.decode(errors="replace")


def record_while_added(machine: Machine, monitor: Monitor, path: Path, name: str) -> Trace:
    ready = path.with_suffix(".ready")
    argv = ("record", path, "--", *GROWING, ready, DIMM_MIB)
    with ThreadPoolExecutor(1) as beside:
        recording = beside.submit(pagetide, machine, *argv)
        while not recording.done() and not ready.exists():
            time.sleep(0.1)
        if not recording.done():
            monitor.add(name)
        done = recording.result()
    assert done.returncode == 0, done.stderr
    return open_trace(path)


@pytest.fixture(scope="module")
def added(guest: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Trace]]:
    """A recording in which zone Normal gets its first memory, and another in which it grows."""
    out = tmp_path_factory.mktemp("added")
    monitor = Monitor(out / "monitor")
    more = ("-m", "slots=2,maxmem=8G", "-monitor", f"unix:{monitor.path},server,nowait")
    with Machine(files_out=out, qemu_args=more) as machine:
        assert machine.run(["sh", "-c", ONLINE], timeout_s=SHORT_S).returncode == 0
        yield {name: record_while_added(machine, monitor, out / f"{name}.trace", name) for name in ("a", "b")}


@pytest.fixture(params=["a", "b"], ids=["a zone's first memory", "a zone that grows"])
def trace(request: pytest.FixtureRequest, added: dict[str, Trace]) -> Trace:
    return added[str(request.param)]


def test_added_memory_is_in_a_new_zone_and_then_makes_it_longer(added: dict[str, Trace]) -> None:
    first, second = ([zones_of(shot) for shot in trace.manifest.snapshots] for trace in added.values())
    print(first, second)
    assert "Normal" not in first[0]
    start, end = first[1]["Normal"]
    assert (end - start) * 4096 >= DIMM_MIB << 20
    assert second[0]["Normal"] == (start, end)
    assert second[1]["Normal"][1] >= end + (DIMM_MIB << 8)
    assert [zone.name for zone in added["a"].zones] == ["DMA", "DMA32", "Normal"]
    assert [zone.name for zone in added["a"].manifest.zones] == ["DMA", "DMA32", "Normal"]
    assert added["b"].zones[2].end_pfn == second[1]["Normal"][1]


def zones_of(shot: Any) -> dict[str, tuple[int, int]]:
    return {zone.name: (zone.start_pfn, zone.end_pfn) for zone in shot.zones}


def test_frames_appear_as_large_free_blocks_exactly_as_many_as_are_managed_more(trace: Trace) -> None:
    new, grown = first_entries(trace), grown_frames(trace)
    print(grown, np.unique(new["order"], return_counts=True))
    assert grown == DIMM_MIB << 8
    assert int((1 << new["order"]).sum()) == grown
    assert (new["op"] == Op.PAGE_FREE).all()


def test_samples_tell_the_growth(trace: Trace) -> None:
    managed = managed_by_second(trace)
    assert managed == sorted(managed)
    assert managed[-1] - managed[0] == DIMM_MIB << 8


def test_a_replay_takes_in_what_was_added(trace: Trace) -> None:
    done = replay(trace, ["never", "upstream", "oracle"])
    assert done.fidelity["outside"] == 0
    for result in done.results:
        managed = result.timeline["managed_bytes"].to_numpy()
        assert managed[-1] - managed[0] == DIMM_MIB << 20
        if result.policy != "never":
            assert result.summary["reclaimed"]["peak_bytes"] > 0


def test_what_nobody_used_yet_is_not_reclaimed(trace: Trace) -> None:
    reports = run(trace, "upstream", delay="10ms").reports
    untouched = reports_of_untouched_blocks(trace, reports, first_entries(trace))
    print(f"{len(untouched)} of {len(reports)} reports were of added blocks that nobody had used yet")
    assert untouched
    assert not any(untouched)


def test_the_model_is_right_about_what_was_added(trace: Trace) -> None:
    verdict = validate(trace)
    print(verdict.fidelity)
    for zone in verdict.orders:
        print(zone)
    assert "0/Normal" in [verdict.zones[each.zone] for each in verdict.orders]
    assert verdict.fidelity["outside"] == 0
    assert verdict.fidelity["frames_wrong"] <= 1e-3 * verdict.fidelity["frames_changed"]
