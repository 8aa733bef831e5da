"""Who is recorded for, and that nothing of root is left; the dropping itself is done in a child."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tracer.recording import priority, privileges
from tracer.recording.privileges import Invoker, invoker

REPO = Path(__file__).parents[2]


def called(monkeypatch, uid, gid, euid=0) -> Any:
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    for name, value in (("SUDO_UID", uid), ("SUDO_GID", gid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    return invoker()


def test_under_sudo_it_is_the_user_who_called_it(monkeypatch):
    assert called(monkeypatch, "1000", "100") == Invoker(1000, 100)


@pytest.mark.parametrize(
    ("uid", "gid"),
    [
        (None, None), ("1000", None), (None, "100"), ("0", "0"), ("", ""), ("me", "us"), ("-1", "100"),
        ("1000", "-1"), ("4294967295", "100"), ("1000", "4294967295"), ("99999999999999", "1"),
    ],
)  # fmt: skip
def test_otherwise_it_is_nobody_else(monkeypatch, uid, gid):
    assert called(monkeypatch, uid, gid) is None


def test_who_is_not_root_records_for_nobody_else(monkeypatch):
    assert called(monkeypatch, "1000", "100", euid=1000) is None


def test_the_user_is_taken_over_in_an_order_that_the_kernel_allows(monkeypatch):
    done: list[Any] = []
    for name in ("setgroups", "setresgid", "setresuid"):
        monkeypatch.setattr(os, name, lambda *ids, name=name: done.append((name, *ids)))
    monkeypatch.setattr(privileges, "_clear_capabilities", lambda: done.append("cleared"))
    privileges.drop(Invoker(1000, 100))
    assert done == [
        ("setgroups", [100]),
        ("setresgid", 100, 100, 100),
        ("setresuid", 1000, 1000, 1000),
        "cleared",
    ]
    done.clear()
    privileges.drop(None)
    assert done == ["cleared"]


def test_no_capability_is_left_not_even_a_permitted_one():
    code = (
        "from tracer.recording.privileges import drop; drop(None)\n"
        "print(*[l.split()[1] for l in open('/proc/self/status')"
        " if l.startswith(('CapInh', 'CapPrm', 'CapEff', 'CapAmb'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"0000000000000000"}


def test_the_threads_behind_the_drain_run_after_it():
    code = (
        "import os, threading; from tracer.recording import priority as p\n"
        "def nice(): return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())\n"
        "raised = p.raise_drain(); first = nice(); seen = []\n"
        "def other(): p.lower(10); seen.append(nice()); p.lower(); seen.append(nice())\n"
        "t = threading.Thread(target=other); t.start(); t.join()\n"
        "print(raised, first, *seen, nice())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    raised, first, low, still_low, mine = done.stdout.split()
    assert (low, still_low) == ("10", "10")
    assert mine == first
    assert (int(first) == priority.DRAIN_NICE) == (raised == "True")
