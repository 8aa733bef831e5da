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
from tests.guest.machine import REPO, CommandTimedOut, Machine, MachineFailed


def test_a_stock_kernel_of_its_own_is_running(machine: Machine) -> None:
    done = machine.run(["uname", "-r"], timeout_s=20)
    assert done.returncode == 0
    assert done.stdout.strip() != os.uname().release
    assert stock.fetch().image.name == f"vmlinuz-{done.stdout.strip()}"


def test_exit_code_output_and_files_come_back(machine: Machine, out: Path) -> None:
    text = f"echo said; echo complained >&2; head -c 100000 /dev/zero >{out}/zeros; exit 7"
    done = machine.run(["sh", "-c", text], timeout_s=20)
    assert (done.returncode, done.stdout, done.stderr) == (7, "said\n", "complained\n")
    assert (out / "zeros").read_bytes() == bytes(100_000)


def test_what_is_written_elsewhere_stays_in_the_machine(machine: Machine) -> None:
    stray = REPO / "stray-file"
    text = f"echo x >{stray} && cat {stray} && ls -d /proc/1 /sys/kernel/tracing/events /dev/null /tmp"
    assert machine.run(["sh", "-c", text], timeout_s=20).returncode == 0
    assert not stray.exists()


def test_the_tmp_of_the_machine_is_its_own(machine: Machine) -> None:
    with tempfile.NamedTemporaryFile(dir="/tmp", prefix="pagetide-hosts-") as file:
        assert machine.run(["test", "-e", file.name], timeout_s=20).returncode == 1


def test_an_environment_can_be_given(machine: Machine) -> None:
    done = machine.run(["printenv", "COLOUR"], timeout_s=20, env={"COLOUR": "sea green"})
    assert done.stdout == "sea green\n"


def test_the_own_reporting_of_the_guest_is_active(machine: Machine) -> None:
    done = machine.run(["dmesg"], timeout_s=20)
    assert "Free page reporting enabled" in done.stdout


def test_a_command_that_hangs_is_ended_in_time_and_nothing_is_left(tmp_path: Path) -> None:
    with Machine(files_out=tmp_path, memory_mib=512, cpus=1) as machine:
        pid, folder = machine.pid, machine.folder
        begin = time.monotonic()
        with pytest.raises(CommandTimedOut, match=r"2 s passed while it ran sleep 60"):
            machine.run(["sleep", "60"], timeout_s=2)
        assert time.monotonic() - begin < 10
        assert not is_running(pid)
        assert not folder.exists()


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
    argv = [sys.executable, "-m", "tests.guest", *options, "--", "sleep", "60"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(argv, cwd=REPO, env=env) as process:
        pid = wait_for_child(process.pid)
        process.send_signal(number)
        assert process.wait(20) != 0
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline, "the machine still runs"
        time.sleep(0.05)
    if number != signal.SIGKILL:  # nobody cleans up after that, but no machine stays
        assert not list(tmp_path.glob("pagetide-guest-*"))


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def wait_for_child(pid: int) -> int:
    """The emulator that this process started."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text().startswith("qemu"):
                return int(child)
        time.sleep(0.05)
    raise AssertionError("no machine was started")
