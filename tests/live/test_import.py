"""perf and ftrace record this machine; what they wrote becomes a trace with exactly their events."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.running import answer, pagetide
from tracer import open_trace
from tracer.probes.tracefs import TRACEFS, fields

EVENTS = (
    "kmem:mm_page_alloc",
    "kmem:mm_page_free",
    "kmem:mm_page_alloc_zone_locked",
    "kmem:mm_page_pcpu_drain",
    "kmem:mm_page_alloc_extfrag",
    "compaction:mm_compaction_isolate_freepages",
    "compaction:mm_compaction_fast_isolate_freepages",
)
LOAD = ["sh", "-c", "python3 -c 'bytearray(100 << 20)'; for n in 1 2 3 4 5 6 7 8 9 10; do true | sort; done"]


def here() -> list[str]:
    """The events that this kernel has."""
    return [event for event in EVENTS if fields(event.partition(":")[0], event.partition(":")[2])]


@pytest.fixture(scope="module")
def recorded(live, tmp_path_factory) -> Any:
    data = tmp_path_factory.mktemp("perf") / "perf.data"
    command = [
        "perf",
        "record",
        "-q",
        "-a",
        "-k",
        "mono",
        "-m",
        "4096",
        "-e",
        ",".join(here()),
        "-o",
        data,
        "--",
        *LOAD,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return data


def script(data: Path, *options: str) -> str:
    done = subprocess.run(
        ["perf", "script", "-i", data, *options], check=True, capture_output=True, text=True
    )
    return done.stdout


def columns(path: Path) -> Any:
    return open_trace(path).events.collect()


def test_a_perf_data_and_its_text_give_the_same_trace_of_all_its_events(recorded, tmp_path):
    text = tmp_path / "perf.txt"
    text.write_text(script(recorded, "--ns"))
    lines = len(text.read_text().splitlines())
    ours = answer(pagetide("import", "perf", recorded, "-o", tmp_path / "data.trace", "--json"))
    texts = answer(pagetide("import", "perf", text, "-o", tmp_path / "text.trace", "--json"))
    assert lines > 10_000
    assert ours["events"] == texts["events"] == lines
    assert texts["lines"] == {"all": lines, "other": 0, "bad": 0, "first_bad": None}
    assert columns(tmp_path / "data.trace").equals(columns(tmp_path / "text.trace"))


def test_a_perf_data_tells_of_its_guest_and_its_clock(recorded, tmp_path):
    manifest = answer(pagetide("import", "perf", recorded, "-o", tmp_path / "a.trace", "--json"))["manifest"]
    assert manifest["guest"]["kernel_release"] == os.uname().release
    assert manifest["guest"]["cpus"] == os.cpu_count()
    assert manifest["layers"] == ["buddy", "frame"]
    assert {probe["name"] for probe in manifest["probes"]} == set(here())
    first_ns, last_ns = open_trace(tmp_path / "a.trace").span_ns
    # perf took the pair of times at its start; events followed.
    assert 0 <= first_ns - manifest["clock"]["monotonic_ns"] < 60_000_000_000
    assert first_ns < last_ns


def test_what_perf_lost_is_lost_here_too(live, tmp_path):
    data = tmp_path / "perf.data"
    command = ["perf", "record", "-q", "-a", "-m", "1", "-e", ",".join(EVENTS[:2]), "-o", data, "--", *LOAD]
    subprocess.run(command, check=True, capture_output=True)
    lost = sum(
        int(line.split()[-1]) for line in script(data, "--show-lost-events").splitlines() if "_LOST" in line
    )
    done = pagetide("import", "perf", data, "-o", tmp_path / "a.trace", "--json")
    assert lost > 0
    assert answer(done, code=3)["lost"] == lost
    losses = open_trace(tmp_path / "a.trace").losses
    assert sum(loss.events for loss in losses) == lost
    assert all(loss.begin_ns <= loss.end_ns for loss in losses)


@pytest.fixture
def instance(live) -> Iterator[Path]:
    """A tracefs instance of our own, with the events switched on; nothing else on this machine sees it."""
    folder = TRACEFS / "instances" / f"pagetide-test-{os.getpid()}"
    folder.mkdir()
    try:
        for event in here():
            (folder / "events" / event.replace(":", "/") / "enable").write_text("1")
        yield folder
    finally:
        (folder / "tracing_on").write_text("0")
        folder.rmdir()


def test_the_trace_of_ftrace_becomes_a_trace_of_all_its_entries(instance, tmp_path):
    (instance / "buffer_size_kb").write_text("32768")
    subprocess.run(LOAD, check=True)
    (instance / "tracing_on").write_text("0")
    text = (instance / "trace").read_text()
    done = answer(pagetide("import", "ftrace", instance / "trace", "-o", tmp_path / "a.trace", "--json"))
    probes = {probe["name"].partition(":")[2]: probe["kept"] for probe in done["manifest"]["probes"]}
    assert probes == {name: text.count(f" {name}: ") for name in probes}
    entries = sum(not line.startswith("#") for line in text.splitlines())
    assert done["events"] == sum(probes.values()) == entries > 10_000
    assert (done["lost"], done["lines"]["bad"]) == (0, 0)
    assert done["manifest"]["guest"]["cpus"] == os.cpu_count()


def test_what_ftrace_overwrote_is_lost(instance, tmp_path):
    (instance / "buffer_size_kb").write_text("64")
    subprocess.run(LOAD, check=True)
    (instance / "tracing_on").write_text("0")
    text = (instance / "trace").read_text()
    kept, written = next(
        map(int, line.split()[2].split("/")) for line in text.splitlines() if line.startswith("# entries-in")
    )
    (tmp_path / "trace.txt").write_text(text)
    done = pagetide("import", "ftrace", tmp_path / "trace.txt", "-o", tmp_path / "a.trace", "--json")
    said = answer(done, code=3)
    assert (said["events"], said["lost"]) == (kept, written - kept)
    assert said["lost"] > 0
