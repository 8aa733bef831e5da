"""The keeper of COMMAND: started, told apart, ended, left alone, and never left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tracer.faults import Fault
from tracer.recording.command import Command, CommandNotFound, CommandRefused, StopSignals

REPO = Path(__file__).parents[2]
SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"


def wait_until(happened, seconds=20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
    return found


def state_of(pid) -> str:
    """The process's state letter; an empty one when it is gone for good."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def children() -> set[int]:
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


@pytest.fixture
def make() -> Any:
    """Makes commands; each is ended and closed, and nothing of it may be left, not even a zombie."""
    before, made = children(), []

    def command(*argv, quiet=False) -> Any:
        made.append(Command([str(word) for word in argv], quiet_stdout=quiet))
        return made[-1]

    yield command
    for one in made:
        one.stop()
        one.close()
    assert children() <= before


@pytest.fixture
def python(make) -> Any:
    return lambda code, quiet=False: make(sys.executable, "-c", code, quiet=quiet)


def finished(command) -> Any:
    command.start()
    wait_until(lambda: not command.running)
    return command


def says_its_pid(folder, code) -> tuple[str, Path]:
    """Code that writes its pid into the file, whole, before it goes on with `code`."""
    file = folder / "pid"
    new = str(file) + "~"
    write = f"open({new!r}, 'w').write(str(os.getpid())); os.rename({new!r}, {str(file)!r})"
    return f"import os; {write}; {code}", file


def pid_in(file) -> int:
    wait_until(file.exists)
    return int(file.read_text())


# Finding and starting


def test_a_command_that_does_not_exist_is_refused_with_the_shells_code(make):
    with pytest.raises(CommandNotFound) as caught:
        make("/no/such/program", "-x")
    assert caught.value.exit_status == 127
    assert "/no/such/program" in caught.value.what


def test_a_text_without_an_interpreter_is_refused_with_the_shells_code(make, tmp_path):
    path = tmp_path / "notes"
    path.write_text("no program\n")
    path.chmod(0o755)
    with pytest.raises(CommandRefused) as caught:
        make(path).start()
    assert caught.value.exit_status == 126
    assert "Exec format error" in caught.value.how


def test_a_file_that_may_not_be_executed_is_refused_with_the_shells_code(make, tmp_path):
    path = tmp_path / "notes"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o644)
    with pytest.raises(CommandRefused) as caught:
        make(path)
    assert caught.value.exit_status == 126
    assert "Permission denied" in caught.value.how


def test_an_interpreter_that_is_gone_is_refused(make, tmp_path):
    path = tmp_path / "script"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    with pytest.raises(CommandRefused) as caught:
        make(path).start()
    assert caught.value.exit_status == 126
    assert caught.value.how == "its interpreter is missing (errno 2)"


def test_a_folder_is_no_command(make, tmp_path):
    with pytest.raises(CommandRefused) as caught:
        make(tmp_path)
    assert caught.value.exit_status == 126
    assert caught.value.how == "it is a directory (errno 21)"


def test_nothing_runs_before_it_is_started(python, tmp_path):
    command = python(f"open({str(tmp_path / 'ran')!r}, 'w')")
    time.sleep(0.2)
    assert not (tmp_path / "ran").exists()
    finished(command)
    assert (tmp_path / "ran").exists()


def test_a_command_that_never_started_is_not_running(python):
    command = python("")
    command.stop()
    assert (command.running, command.exit_status) == (False, 0)


def test_a_keeper_that_was_killed_before_the_start_is_a_fault(python):
    command = python("")
    os.kill(command._keeper, signal.SIGKILL)
    wait_until(lambda: state_of(command._keeper) == "Z")
    with pytest.raises(Fault):
        command.start()


def test_a_keeper_that_is_killed_while_it_is_told_to_start_is_a_fault(python):
    command = python("")
    os.kill(command._keeper, signal.SIGSTOP)
    wait_until(lambda: state_of(command._keeper) == "T")
    with subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -9 {command._keeper}"]), pytest.raises(Fault):
        command.start()


# Its code


@pytest.mark.parametrize("code", [0, 1, 3, 200])
def test_its_exit_code_is_passed_on(python, code):
    assert finished(python(f"raise SystemExit({code})")).exit_status == code


def test_a_command_killed_by_a_signal_is_told_as_a_shell_does(python):
    command = finished(python("import os; os.kill(os.getpid(), 9)"))
    assert command.exit_status == 128 + signal.SIGKILL


def test_a_command_that_leaves_a_daemon_behind_has_ended_when_it_ends(python, tmp_path):
    code, file = says_its_pid(tmp_path, SLEEP)
    command = finished(python(f"import os\nif os.fork() == 0:\n os.setsid()\n {code}\nraise SystemExit(6)"))
    assert command.exit_status == 6
    daemon = pid_in(file)
    command.close()
    assert state_of(daemon) not in {"", "Z"}
    os.kill(daemon, signal.SIGKILL)


def test_a_keeper_that_is_killed_ends_the_wait(python):
    command = python("import time; time.sleep(0.5)")
    command.start()
    os.kill(command._keeper, signal.SIGKILL)
    wait_until(lambda: not command.running)
    assert command.exit_status == 128 + signal.SIGKILL


def test_with_quiet_stdout_its_output_goes_to_stderr(python, capfd):
    finished(python("print('hello')", quiet=True))
    out, err = capfd.readouterr()
    assert (out, err) == ("", "hello\n")


def test_otherwise_its_output_stays_where_it_was(python, capfd):
    finished(python("print('hello')"))
    assert capfd.readouterr() == ("hello\n", "")


def test_it_inherits_no_open_file_of_the_recorder(python, tmp_path, capfd):
    with (tmp_path / "held").open("w"):
        finished(python("import os; print([os.readlink(f'/proc/self/fd/{n}') for n in (0, 1, 2)] and "
                        "sorted(int(n) for n in os.listdir('/proc/self/fd'))[3:])"))  # fmt: skip
    assert len(eval(capfd.readouterr().out)) == 1  # that of listdir itself


# Ending it


def test_a_command_that_we_end_has_not_failed(python):
    command = python(SLEEP)
    command.start()
    assert command.running
    command.stop()
    assert not command.running
    assert command.exit_status == 0


def test_ending_a_command_that_ended_keeps_its_code(python):
    command = finished(python("raise SystemExit(4)"))
    command.stop()
    assert command.exit_status == 4


def test_a_command_that_ignores_sigterm_is_killed(python, monkeypatch, tmp_path):
    monkeypatch.setattr("tracer.recording.command._GRACE_S", 0.2)
    code, file = says_its_pid(tmp_path, f"pass\n{STUBBORN}")
    command = python(code, quiet=True)
    command.start()
    pid = pid_in(file)
    wait_until(lambda: mask(Path(f"/proc/{pid}/status").read_text(), "SigIgn") >> 14 & 1)
    command.stop()
    assert not command.running
    assert state_of(pid) == ""


def test_a_command_that_ends_while_it_is_being_ended_is_ended(python, tmp_path):
    """The keeper has ended without reading what we said: the kernel resets the line."""
    code, file = says_its_pid(tmp_path, SLEEP)
    command = python(code)
    command.start()
    pid = pid_in(file)
    os.kill(command._keeper, signal.SIGSTOP)
    wait_until(lambda: state_of(command._keeper) == "T")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: state_of(pid) == "Z")
    command._line.sendall(b"t")
    os.kill(command._keeper, signal.SIGCONT)
    wait_until(lambda: state_of(command._keeper) == "Z")
    command.stop()
    assert not command.running
    assert command._returncode == -signal.SIGKILL


def test_ctrl_c_does_not_end_the_keeper(python):
    command = python("import time; time.sleep(0.3); raise SystemExit(9)")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(command._keeper, number)
    assert finished(command).exit_status == 9


def test_the_command_lives_on_when_the_recorder_is_killed(tmp_path):
    code, file = says_its_pid(tmp_path, SLEEP)
    recorder = (
        "import sys, time; from tracer.recording.command import Command\n"
        f"command = Command([sys.executable, '-c', {code!r}], quiet_stdout=False)\n"
        "command.start()\nprint(command._keeper, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", recorder], cwd=REPO, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        keeper = int(process.stdout.readline())
        pid = pid_in(file)
        process.kill()
    time.sleep(0.2)
    assert state_of(pid) not in {"", "Z"}
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: state_of(keeper) in {"", "Z"})  # reaped by whoever reaps orphans here
    assert state_of(pid) in {"", "Z"}


# Signals


@contextlib.contextmanager
def ignored(number) -> Any:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def mask(text, key) -> int:
    return int(text.split(f"{key}:")[1].split()[0], 16)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_nohup_or_the_shell_ignores_stays_ignored_in_the_command(python, capfd, number):
    with ignored(number):
        command = python("print(open('/proc/self/status').read())")
    finished(command)
    assert mask(capfd.readouterr().out, "SigIgn") >> (number - 1) & 1


def test_what_the_recorder_handles_is_not_ignored_in_the_command(python, capfd):
    finished(python("print(open('/proc/self/status').read())"))
    ignoring = mask(capfd.readouterr().out, "SigIgn")
    assert not [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if ignoring >> (n - 1) & 1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stop_signals_are_noted_twice_over_and_handlers_put_back(number):
    before = signal.getsignal(number)
    with StopSignals() as signals:
        assert signals.received is None
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert signals.received == number
    assert signal.getsignal(number) == before


def test_under_nohup_a_hangup_does_not_end_the_recording():
    with ignored(signal.SIGHUP), StopSignals() as signals:
        signal.raise_signal(signal.SIGHUP)
        assert signals.received is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        signal.raise_signal(signal.SIGTERM)
        assert signals.received == signal.SIGTERM
