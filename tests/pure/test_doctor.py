import json
from typing import Any

import pytest

from replay.main import run
from tracer import doctor
from tracer.doctor import CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, Check
from tracer.faults import ExitCode, Fault, environment
from tracer.format import Reporting
from tracer.probes.points import TRACEPOINTS

ALL = (1 << 41) - 1


def status(folder, capabilities) -> Any:
    (folder / "self").mkdir(parents=True)
    text = f"Name:\tpython3\nCapInh:\t{ALL:016x}\nCapPrm:\t{ALL:016x}\nCapEff:\t{capabilities:016x}\n"
    (folder / "self/status").write_text(text)
    return folder


def ok(name="x") -> Any:
    return Check(name, "ok", "looked")


@pytest.fixture
def good(monkeypatch) -> Any:
    """A machine on which every check is ok; tests break one."""
    for name in ("_privileges", "_bcc", "_tracepoints", "_kpageflags", "_load"):
        monkeypatch.setattr(doctor, name, lambda name=name: ok(name))
    return monkeypatch


@pytest.mark.parametrize(
    "bits", [range(41), [CAP_SYS_ADMIN], [CAP_BPF, CAP_PERFMON]], ids=["all", "sys_admin", "bpf and perfmon"]
)
def test_capabilities_that_are_enough(tmp_path, bits):
    assert doctor._privileges(status(tmp_path, sum(1 << bit for bit in bits))).state == "ok"


@pytest.mark.parametrize("bits", [[], [CAP_BPF], [CAP_PERFMON], [0, 1, 12]])
def test_capabilities_that_are_not_enough_name_those_that_are(tmp_path, bits):
    check = doctor._privileges(status(tmp_path, sum(1 << bit for bit in bits)))
    assert check.state == "missing"
    assert all(name in check.how for name in ("CAP_SYS_ADMIN", "CAP_BPF", "CAP_PERFMON"))
    assert "sudo" in str(check.fix)


def test_frame_states_that_can_be_read_are_ok(tmp_path):
    (tmp_path / "kpageflags").write_bytes(bytes(8))
    assert doctor._kpageflags(tmp_path).state == "ok"


def test_frame_states_that_cannot_be_read_say_why(tmp_path):
    check = doctor._kpageflags(tmp_path)
    assert check.state == "missing"
    assert "No such file or directory" in check.how


def test_a_wrong_bcc_is_told_with_its_own_fix(monkeypatch):
    def locate() -> Any:
        raise environment("the wrong one", "/venv/bcc has no libbcc bindings", "pip uninstall bcc")

    monkeypatch.setattr("tracer.probes.library.locate", locate)
    check = doctor._bcc()
    assert (check.state, check.how, check.fix) == (
        "missing",
        "the wrong one: /venv/bcc has no libbcc bindings",
        "pip uninstall bcc",
    )


def test_no_tracefs_is_told_with_the_mount_command(monkeypatch):
    monkeypatch.setattr(doctor, "is_mounted", lambda: False)
    check = doctor._tracepoints()
    assert check.state == "missing"
    assert check.fix == "mount -t tracefs tracefs /sys/kernel/tracing"


def tracepoints(monkeypatch, have) -> Any:
    monkeypatch.setattr(doctor, "is_mounted", lambda: True)
    monkeypatch.setattr("tracer.probes.points.available", lambda _points, *_: list(have))
    return doctor._tracepoints()


def test_all_tracepoints_are_ok(monkeypatch):
    assert tracepoints(monkeypatch, TRACEPOINTS) == Check("tracepoints", "ok", "7 of 7")


def test_a_missing_optional_tracepoint_is_ok_and_named(monkeypatch):
    check = tracepoints(monkeypatch, TRACEPOINTS[:-1])
    assert check.state == "ok"
    assert "without compaction:mm_compaction_fast_isolate_freepages" in check.how


def test_a_missing_required_tracepoint_is_missing(monkeypatch):
    check = tracepoints(monkeypatch, TRACEPOINTS[1:])
    assert check.state == "missing"
    assert check.how == "tracefs has no kmem:mm_page_alloc_zone_locked"


def test_a_good_machine_is_ready_and_the_programs_are_really_loaded(good):
    checks = doctor.examine()
    assert doctor.ready(checks)
    assert "_load" in [check.name for check in checks]


def test_nothing_is_loaded_where_something_is_missing(good):
    good.setattr(doctor, "_privileges", lambda: Check("privileges", "missing", "no root", "run it with sudo"))
    good.setattr(doctor, "_load", lambda: pytest.fail("loaded"))
    assert not doctor.ready(doctor.examine())


def test_a_recording_is_refused_for_the_first_thing_missing(good):
    good.setattr(doctor, "ensure_mounted", lambda: True)
    doctor.ensure_recordable()
    good.setattr(doctor, "_bcc", lambda: Check("BCC", "missing", "none on sys.path", "install it"))
    good.setattr(doctor, "_kpageflags", lambda: Check("frame states", "missing", "no", "no"))
    with pytest.raises(Fault) as caught:
        doctor.ensure_recordable()
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert "BCC" in caught.value.what
    assert (caught.value.how, caught.value.fix) == ("none on sys.path", "install it")


def test_programs_that_the_kernel_refuses_are_missing(monkeypatch):
    def refuse(_wanted) -> Any:
        raise environment("refused", "Operation not permitted", "look for lockdown")

    monkeypatch.setattr(doctor, "KernelProbes", refuse)
    assert doctor._load() == Check("BPF programs", "missing", "Operation not permitted", "look for lockdown")


def test_the_doctor_closes_what_it_loads(monkeypatch):
    closed = []

    class Probes:
        def __init__(self, wanted) -> None:
            self.close = lambda: closed.append(wanted.layer)

    monkeypatch.setattr(doctor, "KernelProbes", Probes)
    assert doctor._load().state == "ok"
    assert closed == ["both"]  # every program was tried


@pytest.mark.parametrize(("active", "word"), [(True, "active"), (False, "not active"), (None, "unknown")])
def test_the_guests_own_reporting_is_a_note(monkeypatch, active, word):
    monkeypatch.setattr(doctor, "read_reporting", lambda: Reporting(9, active))
    (note,) = [check for check in doctor._notes() if check.name == "own reporting"]
    assert note == Check("own reporting", "note", f"{word}, page_reporting_order 9")


def test_every_missing_thing_has_one_line_and_a_fix():
    fault = Fault("what", "how", "fix")
    assert str(fault).splitlines() == ["what", "  how we know: how", "  what to do:  fix"]


@pytest.mark.parametrize(("missing", "code"), [(False, 0), (True, 2)])
def test_the_exit_code_says_whether_this_guest_can_be_recorded(good, capsys, missing, code):
    if missing:
        good.setattr(doctor, "_bcc", lambda: Check("BCC", "missing", "none", "apt-get install python3-bpfcc"))
    assert run(["doctor", "--json"]) == code
    said = json.loads(capsys.readouterr().out)
    assert said["ready"] is not missing
    assert {"name", "state", "how", "fix"} == set(said["checks"][0])


def test_people_are_told_the_fix(good, capsys):
    good.setattr(doctor, "_bcc", lambda: Check("BCC", "missing", "none", "apt-get install python3-bpfcc"))
    assert run(["doctor"]) == 2
    out = capsys.readouterr().out
    assert "apt-get install python3-bpfcc" in out
    assert "cannot be recorded" in out


@pytest.mark.parametrize("look", [doctor.examine, doctor.ensure_recordable])
def test_a_rung_that_does_not_exist_is_the_callers_mistake(good, look):
    good.setenv("PAGETIDE_RUNG", "roof")
    good.setattr(doctor, "ensure_mounted", lambda: None)
    with pytest.raises(Fault, match="there is no rung roof") as caught:
        look()
    assert caught.value.code == ExitCode.USAGE
