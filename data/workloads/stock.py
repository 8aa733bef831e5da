"""A stock Linux 6.1 guest of 2 GiB under QEMU: small programs and big buffers, free page reporting.

Recorded with its reporting functions probed (fentry), and watched from outside: beside the trace lies what
the hypervisor was really told and discarded, by its own trace (`stock.truth.parquet`, docs/truth.md). The
one trace here of which it is known what an unmodified kernel reported.
"""

import shutil
import subprocess
import sys
from pathlib import Path

KERNEL, RUNG, WORKLOAD = "6.1", "fentry", "churn"


def record(folder: Path) -> None:
    """Boot the guest, run the workload in it, keep the trace and the truth."""
    lab = folder / "lab"
    choice = ["--kernel", KERNEL, "--rung", RUNG, "--workload", WORKLOAD]
    subprocess.run([sys.executable, "-m", "tests.guest.lab", *choice, "--out", lab], check=True)
    (made,) = lab.rglob("truth.parquet")
    shutil.move(made, folder / "stock.truth.parquet")
    shutil.move(made.parent / f"{RUNG}.trace", folder / "stock.trace")
    shutil.rmtree(lab)
