"""A stock guest from scratch to files: one workload, recorded on each rung, beside what the host got back.

Usage: python -m tests.guest.lab [--kernel SERIES…] [--workload NAME…] [--rung NAME…] [--rounds N] --out DIR
Makes DIR/KERNEL/ROUND/WORKLOAD/{tracepoints,kprobes,fentry}.trace and truth.parquet.
"""

import argparse
import shlex
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.guest import stock
from tests.guest.clocks import ClockJumped
from tests.guest.discards import UnexpectedTrace
from tests.guest.hypervisor import Hypervisor, wait_for
from tests.guest.machine import Machine, MachineFailed, missing
from tests.guest.running import ANY_PROCESSOR, PAGETIDE
from tests.guest.truth import passes_of, write_truth
from tests.guest.verdict import of_run, table
from tests.guest.workloads import WORKLOADS

RUNGS = ("tracepoints", "kprobes", "fentry")
ALL = tuple(name for name in WORKLOADS if name != "short")
# More than 512 free blocks of order 10 need more memory than that.
MEMORY_MIB, LARGER_MIB = 2048, {"big-frees": 2816}
SETTLE, QUIET_S, LEAST_QUIET_S, MOST_S = "10s", 5.0, 10.0, 600.0
_WORKLOADS = Path(__file__).with_name("workloads.py")


@dataclass(frozen=True)
class Run:
    """What to do in one machine. `out` is its folder. `settled`: all that is free has been reported when
    the recordings begin; otherwise big frees go on until all have begun. `options`: more of `pagetide
    record`, for each of them. `kernel`: the machine's, as `stock.fetch` takes it.
    """

    workload: str
    rungs: tuple[str, ...]
    out: Path
    settled: bool = True
    options: tuple[str, ...] = ()
    kernel: str = stock.SERIES

    @property
    def truth(self) -> Path:
        return self.out / "truth.parquet"


class LabFailed(Exception):
    """A recorder or a workload failed; what it said is in the text."""


def perform(run: Run) -> None:
    """Boot, record the workload, wait until all is reported, write the truth.

    Raises:
        LabFailed, MachineFailed, UnexpectedTrace, ClockJumped, OSError: when it could not be done.
            Nothing is left running.
    """
    shutil.rmtree(run.out, ignore_errors=True)
    work = run.out / ".lab"
    work.mkdir(parents=True)
    memory_mib = LARGER_MIB.get(run.workload, MEMORY_MIB)
    with Hypervisor(memory_mib=memory_mib) as hypervisor:
        machine = Machine(
            files_out=run.out, memory_mib=memory_mib, qemu_args=hypervisor.qemu_args, kernel=run.kernel
        )
        with machine:
            hypervisor.watch(machine, work)
            _record(run, machine, hypervisor, work)
            hypervisor.stop()
        write_truth(run.truth, hypervisor.seen())
    shutil.rmtree(work)


def _record(run: Run, machine: Machine, hypervisor: Hypervisor, work: Path) -> None:
    """All recordings of one machine, begun one after the other and ended together."""
    _until_quiet(hypervisor)
    if not run.settled:
        _in_background(
            machine, [sys.executable, str(_WORKLOADS), "restless", str(work / "begun")], work / "restless"
        )
    for rung in run.rungs:
        _begin(run, rung, machine, work)
    (work / "begun").touch()
    done = machine.run([sys.executable, _WORKLOADS, run.workload], timeout_s=MOST_S)
    if done.returncode:
        raise LabFailed(f"{run.workload} exited with {done.returncode}: {done.stderr}")
    time.sleep(LEAST_QUIET_S - QUIET_S)
    _until_quiet(hypervisor)
    stops = " ".join(f": >{_fifo(rung)};" for rung in run.rungs)
    machine.run(["sh", "-c", stops], timeout_s=30)
    for rung in run.rungs:
        wait_for((work / f"{rung}.code").exists, MOST_S, f"the end of the recording on {rung}")
        _check(work / rung)


def _begin(run: Run, rung: str, machine: Machine, work: Path) -> None:
    """Start a recorder, and wait for its start snapshot. Its COMMAND ends by a line from a pipe."""
    began = work / f"{rung}.began"
    command = f": >{shlex.quote(str(began))}; read line <{_fifo(rung)}; :"
    settle = ["--settle", SETTLE] if run.settled else []
    options = ["--ring", "8MiB", *settle, *run.options]
    argv = [*PAGETIDE, "record", str(run.out / f"{rung}.trace"), *options, "--", "sh", "-c", command]
    machine.run(["mkfifo", _fifo(rung)], timeout_s=20)
    _in_background(machine, argv, work / rung, PAGETIDE_RUNG=rung, **ANY_PROCESSOR)
    ended = work / f"{rung}.code"
    wait_for(lambda: began.exists() or ended.exists(), MOST_S, f"a recording on {rung}")
    if not began.exists():
        _check(work / rung)


def _in_background(machine: Machine, argv: list[str], stem: Path, **env: str) -> None:
    """Start it; what it says goes to STEM.log, its exit code to STEM.code."""
    log, code = (shlex.quote(f"{stem}.{suffix}") for suffix in ("log", "code"))
    line = f"{{ {shlex.join(argv)}; echo $? >{code}.new; mv {code}.new {code}; }} >{log} 2>&1 </dev/null &"
    machine.run(["sh", "-c", line], timeout_s=20, env=env)


def _fifo(rung: str) -> str:
    return f"/run/end-{rung}"


def _check(stem: Path) -> None:
    """The recorder with that name has ended: well?"""
    code, log = (Path(f"{stem}.{suffix}").read_text().strip() for suffix in ("code", "log"))
    if code != "0":
        raise LabFailed(f"recording on {stem.name} ended with {code}: {log}")


def _until_quiet(hypervisor: Hypervisor) -> None:
    """Until the guest has had nothing to report for some seconds."""
    wait_for(lambda: hypervisor.quiet_s() >= QUIET_S, MOST_S, "the end of reporting")


def print_passes(run: Run) -> None:
    """What the hypervisor saw, one line per pass."""
    passes = passes_of(run.truth)
    print(f"{run.out}: {len(passes)} passes")
    print(f"{'first range s':>14} {'took ms':>8} {'batches':>8} {'ranges':>7} {'MiB':>6} {'drop MiB':>9}")
    for one in passes:
        print(
            f"{one.ts_ns / 1e9:14.3f} {(one.end_ns - one.ts_ns) / 1e6:8.1f} {one.batches:8} {one.ranges:7}"
            f" {one.size_bytes / 2**20:6.0f} {one.drop_bytes / 2**20:9.1f}",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.guest.lab", description=__doc__)
    parser.add_argument("--kernel", nargs="+", default=[stock.SERIES], help="series, like 6.12")
    parser.add_argument("--workload", nargs="+", choices=[*WORKLOADS], default=list(ALL))
    parser.add_argument("--rung", nargs="+", choices=RUNGS, default=list(RUNGS))
    parser.add_argument("--rounds", type=int, default=1, help="how often to do each, to see the spread")
    parser.add_argument("--unsettled", action="store_true", help="begin while free memory is unreported")
    parser.add_argument("--option", nargs="+", default=[], help="more of `pagetide record`: resync=5s")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for kernel in options.kernel:
        if reason := missing(kernel):
            print(f"no guest here: {reason}", file=sys.stderr)
            return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    rungs, more = tuple(options.rung), tuple(f"--{option}" for option in options.option)
    out = options.out.absolute()
    settled = not options.unsettled
    runs = [
        Run(name, rungs, out / kernel / str(number) / _named(name, settled), settled, more, kernel)
        for kernel in options.kernel
        for number in range(1, options.rounds + 1)
        for name in options.workload
    ]
    failed = [run for run in runs if not _done(run)]  # the others are done all the same
    return 1 if failed else 0


def _named(workload: str, settled: bool) -> str:
    return workload if settled else f"{workload}-unsettled"


def _done(run: Run) -> bool:
    """Perform it and say what came of it, or why nothing did."""
    try:
        perform(run)
    except (LabFailed, MachineFailed, UnexpectedTrace, ClockJumped, OSError) as failure:
        print(f"{run.out}: {failure}", file=sys.stderr)
        return False
    print_passes(run)
    print(table(of_run(run.out)), flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
