"""How much memory a replay takes, and how much there is: told before, and refused with both numbers."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay import available, engine, main, sizing
from replay.available import Available
from replay.buddy.ops import meaning_table
from replay.engine import Options, run_all, sizes_of
from replay.policies import comparison, parse
from replay.sizing import READING_BYTES, Sizes, array_bytes
from tests.pure import small_traces
from tests.pure.small_traces import GUEST, ZONES
from tracer import Fault, Trace, Zone, open_trace
from tracer.faults import ExitCode

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
FRAMES = 1 << 20


def zones(*bounds: tuple[int, int]) -> list[Zone]:
    named = zip(("DMA", "Normal", "Movable"), bounds, strict=False)
    return [
        replace(ZONES[0], name=name, start_pfn=first, spanned=end - first) for name, (first, end) in named
    ]


@pytest.fixture
def large(tmp_path) -> Trace:
    """A trace of a guest with 4 GiB, two zones with a hole between, and odd ends."""
    told = zones((1, 4095), (8192, FRAMES - 1500))
    path = small_traces.write(tmp_path / "a.trace", zones=told)

    def widen(data: Any) -> None:
        for shot in data["snapshots"]:
            shot["zones"] = data["zones"]

    small_traces.edit_manifest(path, widen)
    return open_trace(path)


def held(run: Any) -> tuple[int, int]:
    """Bytes of a run's arrays: of its order, and its own."""
    program = run.schedule.program.memory.nbytes
    return array_bytes(vars(run.group.occupancy)), array_bytes(run.schedule.state) + program


@pytest.mark.parametrize("order", [0, 3, 9, 10])
@pytest.mark.parametrize("logging", [False, True])
def test_the_estimate_is_what_the_arrays_take(large, order, logging):
    options = Options(logging=logging)
    settings = comparison(large.manifest.guest, order)
    sizes = sizes_of(large, options)
    for setting in settings:
        (run,) = run_all(large, [setting], options)
        shared, own = held(run)
        assert own <= sizes.setting(setting) <= own + 4096, setting.named
        # A batch without its CPUs is given some, as long as it is.
        assert shared - run.group.occupancy._no_cpu.nbytes <= sizes.order(order) <= shared + 4096


def test_what_schedules_share_or_hold_besides_is_counted_too(large):
    """Whatever a group or a schedule has grown since: it is in the estimate, or this fails."""
    settings = [parse(name, large.manifest.guest) for name in ("upstream", "upstream:delay=1s", "bitmap")]
    runs = run_all(large, settings, Options())
    group = runs[0].group
    counted = sum(held(run)[1] for run in runs) + held(runs[0])[0]
    found = array_bytes([vars(group), vars(group.occupancy), [vars(each) for each in group.schedules]])
    found += sum(run.schedule.program.memory.nbytes for run in runs)
    assert found <= counted + MIB
    sizes = sizes_of(large, Options())
    assert counted <= sizes.of(settings) - sizes.shared + MIB


@pytest.mark.parametrize("fragmentation", [False, True])
def test_a_replay_never_holds_more_than_was_told(large, fragmentation):
    options = Options(fragmentation=fragmentation)
    settings = [parse(name, large.manifest.guest) for name in ("upstream:order=0", "hints", "bitmap:order=3")]
    told = sizes_of(large, options).of(settings) - READING_BYTES
    tracemalloc.start()
    runs = run_all(large, settings, options)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(runs) == 3
    assert 0.6 * told < most < told + 16 * MIB  # of the events on their way, which are few


def test_a_guest_of_many_tebibytes_is_reckoned_in_a_moment_and_not_made(monkeypatch):
    monkeypatch.setattr("replay.geometry._memory_bytes", lambda: 1 << 60)
    told = zones((1, 4096), (4096, 16 * TIB // 4096))
    sizes = Sizes(GUEST, told, meaning_table(GUEST), 2000)
    settings = [parse(name, GUEST) for name in ("upstream", "never", "oracle")]
    tracemalloc.start()
    found = sizes.of(settings)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    frames = 16 * TIB // 4096
    assert frames * (sizing.PASSING_BYTES + 2) < found < frames * (sizing.PASSING_BYTES + 4)
    assert most < 64 * MIB
    assert sizes.of([*settings, parse("upstream:order=0", GUEST)]) > found + 40 * frames


# Refused before anything is read.


def deny(monkeypatch: Any, there: int) -> None:
    monkeypatch.setattr(sizing, "available", lambda: Available(there, "somebody says so"))

    def no_reading(*_: Any, **__: Any) -> Any:
        raise AssertionError("the events were read")

    monkeypatch.setattr(Trace, "batches", no_reading)


def test_a_replay_that_takes_more_than_there_is_says_both_numbers(large, monkeypatch, capsys):
    deny(monkeypatch, 300 * MIB)
    code = main.run(["replay", str(large.path), "--policy", "upstream:order=0", "--json"])
    said = capsys.readouterr()
    assert (code, said.out) == (ExitCode.ENVIRONMENT, "")
    what, how, fix = said.err.splitlines()
    asked = [parse(name, GUEST) for name in ("upstream:order=0", "oracle:order=0")]  # and the ceiling
    needed = sizes_of(large, Options()).of(asked)
    assert f"takes {needed / MIB:.0f} MiB, more than the memory there is" in what
    assert "1,047,076 frames under upstream:order=0" in how
    assert "300 MiB are available (somebody says so)" in how
    assert "higher order" in fix


def test_many_policies_may_take_more_than_one_and_are_counted(large, monkeypatch):
    sizes, one = sizes_of(large, Options()), parse("upstream:order=0", GUEST)
    settings = [replace(one, params={**one.params, "budget": k}) for k in range(1, 9)]
    deny(monkeypatch, sizes.of(settings) - 1)
    with pytest.raises(Fault, match="more than the memory") as caught:
        run_all(large, settings, Options())
    assert "and 7 more" in caught.value.how
    deny(monkeypatch, sizes.of(settings))
    with pytest.raises(AssertionError, match="the events were read"):
        run_all(large, settings, Options())


def test_a_guest_that_not_even_its_states_fit_is_refused_with_the_number(tmp_path, monkeypatch, capsys):
    path = small_traces.write(tmp_path / "a.trace", zones=zones((0, 64 * TIB // 4096)))
    monkeypatch.setattr("replay.geometry._memory_bytes", lambda: 1 << 60)
    deny(monkeypatch, 24 * GIB)
    assert main.run(["replay", str(path), "--policy", "never"]) == ExitCode.ENVIRONMENT
    said = capsys.readouterr().err
    assert "takes 160 GiB, more than the memory there is" in said
    monkeypatch.setattr("replay.geometry._memory_bytes", lambda: 24 * GIB)
    assert main.run(["replay", str(path), "--policy", "never"]) == ExitCode.ENVIRONMENT
    assert "their states need 32 GiB, it has 24 GiB" in capsys.readouterr().err


def test_the_log_and_the_model_of_all_orders_are_in_the_sum(large):
    setting = parse("upstream", large.manifest.guest)
    plain = sizes_of(large, Options()).of([setting])
    assert sizes_of(large, Options(logging=True)).of([setting]) >= plain + engine.LOG_ROWS * 40
    assert sizes_of(large, Options(fragmentation=True)).of([setting]) >= plain + 12 * (FRAMES - 1500)


def test_an_array_is_counted_once_however_often_it_is_named():
    words = np.zeros(100, np.int64)
    assert array_bytes([words, words, {"a": words}, words[:10], words.view(np.uint8)]) == 800


# What there is.


class Machine:
    """A /proc and cgroups made up."""

    def __init__(self, folder: Path, monkeypatch: Any) -> None:
        self.folder = folder
        monkeypatch.setattr(available, "PROC", folder / "proc")
        self.write("proc/meminfo", "MemTotal: 9999999 kB\nMemAvailable: 1048576 kB\n")

    def write(self, name: str, text: object) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    def mount(self, kind: str, root: str, own: str) -> None:
        options = "rw,memory" if kind == "cgroup" else "rw,nsdelegate"
        where = self.folder / "cg"
        self.write(
            "proc/self/mountinfo", f"29 23 0:26 {root} {where} rw,nosuid shared:4 - {kind} cg {options}"
        )
        self.write("proc/self/cgroup", f"5:devices:/\n{'0:' if kind == 'cgroup2' else '4:memory'}:{own}")


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_without_cgroups_it_is_what_meminfo_says(machine):
    assert available.available() == (GIB, f"MemAvailable of {available.PROC}/meminfo")


def test_the_least_of_all_cgroups_around_counts_without_the_files_they_cache(machine):
    machine.mount("cgroup2", "/", "/a/b")
    for name, most, now, cached in (("a", 400 * MIB, 300 * MIB, 50 * MIB), ("a/b", "max", 200 * MIB, 0)):
        machine.write(f"cg/{name}/memory.max", most)
        machine.write(f"cg/{name}/memory.current", now)
        machine.write(f"cg/{name}/memory.stat", f"anon 1\ninactive_file {cached}")
    found = available.available()
    assert (found.size_bytes, found.source) == (150 * MIB, f"the limit of the cgroup {machine.folder}/cg/a")


def test_a_cgroup_of_the_first_version_too(machine):
    machine.mount("cgroup", "/", "/a")
    machine.write("cg/a/memory.limit_in_bytes", 100 * MIB)
    machine.write("cg/a/memory.usage_in_bytes", 0)
    machine.write("cg/memory.limit_in_bytes", 9223372036854771712)
    machine.write("cg/memory.usage_in_bytes", 5)
    assert available.available().size_bytes == 100 * MIB


def test_inside_a_container_the_mount_is_below_the_root(machine):
    machine.mount("cgroup", "/docker/x", "/docker/x/y")
    machine.write("cg/y/memory.limit_in_bytes", 10 * MIB)
    machine.write("cg/y/memory.usage_in_bytes", 20 * MIB)
    assert available.available().size_bytes == 0


def test_a_limit_above_what_the_machine_has_is_none(machine):
    machine.mount("cgroup2", "/", "/")
    machine.write("cg/memory.max", 64 * GIB)
    machine.write("cg/memory.current", 1)
    assert available.available().size_bytes == GIB


def test_this_machine_has_some():
    found = available.available()
    assert 0 < found.size_bytes < TIB * 64
    assert json.dumps(found.source)
