"""Memory that appears while it is recorded: deferred initialisation, where this machine still has some."""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from replay import replay, run, validate
from tests.appearing import first_entries, grown_frames, managed_by_second, reports_of_untouched_blocks
from tests.live.running import pagetide
from tracer import Op, Trace, open_trace
from tracer.guest.files import GuestFiles
from tracer.guest.procfs import read_zones

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROWING = [sys.executable, str(Path(__file__).parent / "growing.py")]
PAGE = os.sysconf("SC_PAGE_SIZE")
# The zones must run dry before the kernel initialises more, and others need memory meanwhile.
ROOM_MIB = 3072


@pytest.fixture(scope="module")
def recorded(live: None, tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """A program that takes memory until there is more of it."""
    with GuestFiles() as files:
        zones = read_zones(files)
        meminfo = Path("/proc/meminfo").read_text()
    to_come = sum(zone.present - zone.managed for zone in zones) * PAGE >> 20
    free_mib = sum(zone.free for zone in zones) * PAGE >> 20
    available = re.search(r"MemAvailable: +(\d+)", meminfo)
    available_mib = int(available[1]) >> 10 if available else 0
    if to_come < 1024:
        pytest.skip(f"all memory of this machine is managed but {to_come} MiB: none can appear")
    if available_mib < free_mib + ROOM_MIB:
        pytest.skip(f"{available_mib} MiB are available: too few to take {free_mib} MiB of them")
    path = tmp_path_factory.mktemp("growing") / "a.trace"
    done = pagetide("record", path, "--", *GROWING, free_mib + ROOM_MIB // 2)
    assert done.returncode == 0, done.stderr
    return open_trace(path)


@pytest.fixture(scope="module")
def grown(recorded: Trace) -> int:
    return grown_frames(recorded)


@pytest.fixture(scope="module")
def new(recorded: Trace) -> "NDArray[Any]":
    return first_entries(recorded)


def test_frames_appear_as_large_free_blocks_exactly_as_many_as_are_managed_more(
    recorded: Trace, grown: int, new: "NDArray[Any]"
) -> None:
    orders, counts = np.unique(new["order"], return_counts=True)
    print(f"{grown} frames more, blocks of order {orders.tolist()}: {counts.tolist()}")
    assert grown > 0
    assert int((1 << new["order"]).sum()) == grown
    assert (new["op"] == Op.PAGE_FREE).all()
    assert (new["order"] == recorded.manifest.guest.max_order).all()


def test_samples_tell_the_growth(recorded: Trace, grown: int) -> None:
    managed = managed_by_second(recorded)
    assert managed == sorted(managed)
    assert managed[-1] - managed[0] == grown


def test_a_replay_manages_what_appears_from_then_on(recorded: Trace, grown: int) -> None:
    for result in replay(recorded, ["never", "upstream", "oracle"]).results:
        managed = result.timeline["managed_bytes"].to_numpy()
        assert (np.diff(managed) >= 0).all()
        assert managed[-1] - managed[0] == grown * PAGE


def test_what_nobody_used_yet_is_not_reclaimed(recorded: Trace, new: "NDArray[Any]") -> None:
    """The host has no memory for it: a report of it is redundant, until a frame of the block is used."""
    reports = run(recorded, "upstream", delay="10ms").reports
    untouched = reports_of_untouched_blocks(recorded, reports, new)
    print(f"{len(untouched)} of {len(reports)} reports were of new blocks that nobody had used yet")
    assert untouched
    assert not any(untouched)


def test_the_model_is_right_about_memory_that_appeared(recorded: Trace) -> None:
    verdict = validate(recorded)
    print(verdict.fidelity)
    assert verdict.fidelity["outside"] == verdict.fidelity["unknown_ops"] == 0
    assert verdict.wrong_share <= 0.005
    assert verdict.impossible_share <= 0.001  # refills that this kernel does not show
