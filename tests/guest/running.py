"""Pagetide's command line inside the machine."""

import json
import os
import subprocess
import sys
from typing import Any

from tests.guest.machine import REPO, Completed, Machine

TIMEOUT_S = 1200  # a last net: emulation on a busy host is slow
PAGETIDE = [sys.executable, "-c", "from replay.main import main; main()"]
# Compiled code is kept per processor. For this one it serves the emulated one, too, which would need
# minutes to compile it: run a command outside first.
ANY_PROCESSOR = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}


def pagetide(machine: Machine, *args: object, **env: str) -> Completed:
    """Run one command line in the machine to its end."""
    argv = [*PAGETIDE, *map(str, args)]
    return machine.run(argv, timeout_s=TIMEOUT_S, env={**ANY_PROCESSOR, **env})


def answer(done: Completed, code: int = 0) -> dict[str, Any]:
    """The one JSON object on stdout."""
    assert done.returncode == code, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def pagetide_outside(*args: object) -> str:
    """The same command line on the host; what it wrote to stdout."""
    argv = [*PAGETIDE, *map(str, args)]
    env = {**os.environ, **ANY_PROCESSOR}
    return subprocess.run(argv, cwd=REPO, env=env, check=True, capture_output=True, text=True).stdout
