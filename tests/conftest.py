"""Tests by what they need: `live` root and eBPF, `guest` QEMU, `browser` Chromium. Elsewhere they skip
with their reason; where PAGETIDE_REQUIRE names their kind, as in CI, they fail instead.
"""

import os
import signal
from functools import cache
from pathlib import Path

import hypothesis
import pytest

# No test is timed: how long an example takes says nothing on a busy machine.
hypothesis.settings.register_profile("pagetide", deadline=None)
hypothesis.settings.load_profile("pagetide")

HERE = Path(__file__).parent

# A shell's background job ignores these, and so would every program that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@cache
def why_not_live() -> str | None:
    """Why this machine cannot be recorded, or None."""
    from tracer.doctor import examine

    missing = [check for check in examine() if check.state == "missing"]
    return f"{missing[0].name}: {missing[0].how}" if missing else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kind = item.path.relative_to(HERE).parts[0]
        if kind in ("live", "guest", "browser"):
            item.fixturenames.insert(0, kind)  # type: ignore[attr-defined] # functions have them


@pytest.fixture(scope="session")
def live() -> None:
    """A guest that can be recorded: this machine."""
    from tracer.probes.tracefs import ensure_mounted

    ensure_mounted()
    skip_or_fail("live", why_not_live())


@pytest.fixture(scope="session")
def guest() -> None:
    """A machine under QEMU can be booted here."""
    from tests.guest.machine import missing

    skip_or_fail("guest", missing())


@pytest.fixture(scope="session")
def browser() -> None:
    """A page can be opened here."""
    from tests.browser.opened import missing

    skip_or_fail("browser", missing())


def skip_or_fail(kind: str, reason: str | None) -> None:
    """End a test whose needs are not met, by its kind."""
    if reason and kind in os.environ.get("PAGETIDE_REQUIRE", "").split(","):
        pytest.fail(f"{kind} tests are required here, but {reason}")
    if reason:
        pytest.skip(reason)
