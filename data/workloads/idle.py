"""Nothing runs but the guest's own services and the recorder.

What most guests do most of the time. What moves is the noise that every other trace has in it, too; with both
layers, so that it can be told who makes it.
"""

import time
from pathlib import Path

LAYER = "both"
REST_S = 120


def run(folder: Path) -> None:
    """Wait."""
    time.sleep(REST_S)
