"""Tests by what they need: `live` root and eBPF, `guest` QEMU. Elsewhere they skip with their reason;
where PAGETIDE_REQUIRE names their kind, as in CI, they fail instead.
"""

import os
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@cache
def why_not_live() -> str | None:
    """Why this machine cannot be recorded, or None."""
    from tracer.doctor import examine

    missing = [check for check in examine() if check.state == "missing"]
    return f"{missing[0].name}: {missing[0].how}" if missing else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kind = item.path.relative_to(HERE).parts[0]
        if kind == "live":
            item.fixturenames.insert(0, "live")  # type: ignore[attr-defined] # functions have them


@pytest.fixture(scope="session")
def live() -> None:
    """A guest that can be recorded: this machine."""
    from tracer.probes.tracefs import ensure_mounted

    ensure_mounted()
    reason = why_not_live()
    if reason and "live" in os.environ.get("PAGETIDE_REQUIRE", "").split(","):
        pytest.fail(f"live tests are required here, but {reason}")
    if reason:
        pytest.skip(reason)
