"""The machine itself: boots, runs commands, gives files back, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.guest import stock
from tests.guest.conftest import HERE, SCRIPT_TIMEOUT_S, Shared
from tests.guest.machine import REPO, SHORT_S, CommandTimedOut, Machine, MachineFailed


def test_a_stock_kernel_of_its_own_is_running(machine: Machine) -> None:
    done = machine.run(["uname", "-r"], timeout_s=SHORT_S)
    assert done.returncode == 0
    assert done.stdout.strip() != os.uname().release
    assert stock.fetch().image.name == f"vmlinuz-{done.stdout.strip()}"


def test_exit_code_output_and_files_come_back(machine: Machine, out: Path) -> None:
    text = f"echo said; echo complained >&2; head -c 100000 /dev/zero >{out}/zeros; exit 7"
    done = machine.run(["sh", "-c", text], timeout_s=SHORT_S)
    assert (done.returncode, done.stdout, done.stderr) == (7, "said\n", "complained\n")
    assert (out / "zeros").read_bytes() == bytes(100_000)


def test_what_is_written_elsewhere_stays_in_the_machine(machine: Machine) -> None:
    stray = REPO / "stray-file"
    text = f"echo x >{stray} && cat {stray} && ls -d /proc/1 /sys/kernel/tracing/events /dev/null /tmp"
    assert machine.run(["sh", "-c", text], timeout_s=SHORT_S).returncode == 0
    assert not stray.exists()


def test_the_tmp_of_the_machine_is_its_own(machine: Machine) -> None:
    with tempfile.NamedTemporaryFile(dir="/tmp", prefix="pagetide-hosts-") as file:
        assert machine.run(["test", "-e", file.name], timeout_s=SHORT_S).returncode == 1


def test_an_environment_can_be_given(machine: Machine) -> None:
    done = machine.run(["printenv", "COLOUR"], timeout_s=SHORT_S, env={"COLOUR": "sea green"})
    assert done.stdout == "sea green\n"


def test_the_own_reporting_of_the_guest_is_active(machine: Machine) -> None:
    done = machine.run(["dmesg"], timeout_s=SHORT_S)
    assert "Free page reporting enabled" in done.stdout


def test_a_command_that_hangs_is_ended_in_time_and_nothing_is_left(tmp_path: Path) -> None:
    with Machine(files_out=tmp_path, memory_mib=512, cpus=1) as machine:
        pid, folder = machine.pid, machine.folder
        begin = time.monotonic()
        hangs = "echo hanging >&2; sleep 600"
        with pytest.raises(CommandTimedOut, match=r"(?s)10 s passed while it ran sh -c .*hanging\n$"):
            machine.run(["sh", "-c", hangs], timeout_s=10)
        assert time.monotonic() - begin < 300
        assert not is_running(pid)
        assert not folder.exists()
        with pytest.raises(MachineFailed, match=r"true was not run: the machine was ended: 10 s passed"):
            machine.run(["true"], timeout_s=SHORT_S)


def test_a_machine_that_ended_says_so_and_the_next_test_gets_another(guest: None, tmp_path: Path) -> None:
    shared = Shared(tmp_path)
    try:
        first = shared.machine()
        assert shared.machine() is first
        with pytest.raises(MachineFailed, match="ended while it ran busybox poweroff -f"):
            first.run(["busybox", "poweroff", "-f"], timeout_s=SHORT_S)
        with pytest.raises(MachineFailed, match="true was not run: the machine ended while"):
            first.run(["true"], timeout_s=SHORT_S)
        assert shared.machine() is not first
        assert shared.machine().run(["true"], timeout_s=SHORT_S).returncode == 0
        assert not first.folder.exists()
    finally:
        shared.close()


def test_a_recording_that_fails_ends_those_beside_it_with_its_reason(machine: Machine, out: Path) -> None:
    folder = out / "failing"
    (folder / "both.trace" / "precious").mkdir(parents=True)
    argv: list[str | Path] = ["sh", HERE / "quiet.sh", folder, sys.executable, HERE / "workload.py"]
    done = machine.run(argv, timeout_s=SCRIPT_TIMEOUT_S)
    assert done.returncode != 0
    assert "both.trace was the first to fail" in done.stderr
    assert "both.trace exists already" in done.stderr


def test_a_kernel_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(MachineFailed, match=r"(?s)ended while it booted.*panic"),
        Machine(files_out=tmp_path, memory_mib=512, cpus=1, append="rdinit=/none root=/dev/none"),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_command_line_leaves_no_machine_running(
    tmp_path: Path, number: signal.Signals
) -> None:
    options = ["--memory", "512", "--cpus", "1", "--out", str(tmp_path / "out")]
    argv = [sys.executable, "-m", "tests.guest", *options, "--", "sleep", "6000"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(argv, cwd=REPO, env=env) as process:
        pid = wait_for_child(process.pid)
        process.send_signal(number)
        assert process.wait(SHORT_S) != 0
    deadline = time.monotonic() + SHORT_S
    while is_running(pid):
        assert time.monotonic() < deadline, "the machine still runs"
        time.sleep(0.05)
    if number != signal.SIGKILL:  # nobody cleans up after that, but no machine stays
        assert not list(tmp_path.glob("pagetide-guest-*"))


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def wait_for_child(pid: int) -> int:
    """The emulator that this process started."""
    deadline = time.monotonic() + SHORT_S
    while time.monotonic() < deadline:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text().startswith("qemu"):
                return int(child)
        time.sleep(0.05)
    raise AssertionError("no machine was started")
