import signal
import sys
import time
from typing import Any

import pytest

from tracer.faults import Fault
from tracer.recording.command import Command, CommandNotFound, StopSignals


def python(code, *, quiet=False) -> Any:
    return Command([sys.executable, "-c", code], quiet_stdout=quiet)


def finished(command) -> Any:
    command.start()
    deadline = time.monotonic() + 20
    while command.running and time.monotonic() < deadline:
        time.sleep(0.005)
    return command


def test_a_command_that_does_not_exist_is_refused_with_the_shells_code():
    with pytest.raises(CommandNotFound) as caught:
        Command(["/no/such/program", "-x"], quiet_stdout=False)
    assert caught.value.exit_status == 127
    assert "/no/such/program" in caught.value.what


def test_a_file_that_is_no_program_is_a_fault_with_the_shells_code(tmp_path):
    path = tmp_path / "notes"
    path.write_text("no program\n")
    path.chmod(0o755)
    with pytest.raises(Fault) as caught:
        Command([str(path)], quiet_stdout=False).start()
    assert getattr(caught.value, "exit_status", None) == 126


@pytest.mark.parametrize("code", [0, 1, 3, 200])
def test_its_exit_code_is_passed_on(code):
    assert finished(python(f"raise SystemExit({code})")).exit_status == code


def test_a_command_killed_by_a_signal_is_told_as_a_shell_does():
    command = finished(python("import os; os.kill(os.getpid(), 9)"))
    assert command.exit_status == 128 + signal.SIGKILL


def test_a_command_that_we_end_has_not_failed():
    command = python("import time; time.sleep(60)")
    command.start()
    assert command.running
    command.stop()
    assert not command.running
    assert command.exit_status == 0


def test_ending_a_command_that_ended_keeps_its_code():
    command = finished(python("raise SystemExit(4)"))
    command.stop()
    assert command.exit_status == 4


def test_a_command_that_ignores_sigterm_is_killed(monkeypatch):
    monkeypatch.setattr("tracer.recording.command._GRACE_S", 0.2)
    command = python(
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(); time.sleep(60)", quiet=True
    )
    command.start()
    time.sleep(0.3)
    command.stop()
    assert not command.running


def test_a_command_that_never_started_is_not_running():
    command = python("")
    command.stop()
    assert (command.running, command.exit_status) == (False, 0)


def test_with_quiet_stdout_its_output_goes_to_stderr(capfd):
    finished(python("print('hello')", quiet=True))
    out, err = capfd.readouterr()
    assert (out, err) == ("", "hello\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_signals_are_noted_twice_over_and_handlers_put_back(number):
    before = signal.getsignal(number)
    with StopSignals() as signals:
        assert signals.received is None
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert signals.received == number
    assert signal.getsignal(number) == before
