"""One machine for all tests of the session that do not end it: booting is most of what a test costs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest.machine import Machine
from tests.guest.running import prepare_compiled_code


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder the machine may write to, at the same path inside."""
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="session")
def machine(guest: None, out: Path) -> Iterator[Machine]:
    prepare_compiled_code()
    with Machine(files_out=out) as machine:
        yield machine
