"""What a recorder takes of the guest stays the same, however long and busy the recording."""

import os
import re
import time
from pathlib import Path

from tests.live.running import TIMEOUT_S, WORKLOAD, started, stored_rows, wait_for_start
from tracer import open_trace
from tracer.recording.settings import Settings

SOAK = bool(os.environ.get("PAGETIDE_SOAK"))
SECONDS = 600 if SOAK else 15
RING_BYTES = 64 << 20
MOST_BYTES = 250 << 20


def resident_bytes(process: int) -> int:
    """All that is resident: the ring, the blocks, and the code of libraries too."""
    text = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"^VmRSS:\s*(\d+) kB", text, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def test_its_memory_is_bounded_under_load(tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    sizes: list[int] = []
    flags = ["--layer", "frame", "--segment", "1s"]
    assert Settings().ring_bytes == RING_BYTES
    enough = path.with_suffix(".enough")
    with started("record", path, *flags, "--", *WORKLOAD, SECONDS, enough) as recorder:
        wait_for_start(path)
        while recorder.poll() is None and not enough.exists():
            sizes.append(resident_bytes(recorder.pid))
            time.sleep(1)
            if len(sizes) >= SECONDS and stored_rows(path) > 100_000 * SECONDS:
                enough.touch()
        _, err = recorder.communicate(timeout=TIMEOUT_S)
    print(f"{open_trace(path).rows} events, MiB second by second:", [size >> 20 for size in sizes])
    assert recorder.returncode == 0, err
    assert open_trace(path).rows > 100_000 * SECONDS
    assert max(sizes) <= MOST_BYTES
    if SOAK:
        assert max(sizes[-60:]) < 1.05 * max(sizes[30:90])
