"""PostgreSQL with 3 GiB of shared buffers under pgbench: writes, a vacuum, an index, a restart, and reads.

The database server of most applications. Its buffers are shared memory that fills as tables are touched
and stays until the server stops; its files fill the page cache a second time; each connection is a
process that comes and goes.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEBIAN = ("postgresql",)
USER = "postgres"
BUFFERS = "3GB"
SCALE = 200  # some 3 GiB of tables and indexes
CLIENTS = 8
WRITE_S, READ_S, REST_S = 60, 40, 10
OPTIONS = {
    "shared_buffers": BUFFERS,
    "listen_addresses": "",
    "max_wal_size": "2GB",
    "maintenance_work_mem": "512MB",
    "huge_pages": "off",
}


def program(name: str) -> str:
    """A program of the newest PostgreSQL that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if not found:
        sys.exit(f"{name} is not installed: apt-get install postgresql")
    return str(found[-1])


def act(folder: Path, name: str, *argv: str) -> None:
    """Run one of its programs as its own user, to its end."""
    user = USER if os.geteuid() == 0 else None  # it refuses to run as root
    environment = {**os.environ, "PGHOST": str(folder), "PGUSER": USER, "PGDATABASE": USER}
    with (folder / f"{name}.log").open("ab") as log:
        subprocess.run(
            [program(name), *argv],
            check=True,
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )


@contextmanager
def server(folder: Path) -> Iterator[None]:
    """PostgreSQL on a socket in the folder, while it lasts."""
    settings = " ".join(f"-c {name}={value!r}" for name, value in OPTIONS.items())
    control = ("-D", str(folder / "cluster"), "-w", "-t", "120")
    act(
        folder, "pg_ctl", *control, "-l", str(folder / "server.log"), "-o", f"{settings} -k {folder}", "start"
    )
    try:
        yield
    finally:
        act(folder, "pg_ctl", *control, "-m", "fast", "stop")


def prepare(folder: Path) -> None:
    """Make a cluster with pgbench's tables."""
    shutil.chown(folder, USER)
    act(folder, "initdb", "-D", str(folder / "cluster"), "-U", USER, "-A", "trust", "--no-sync")
    with server(folder):
        act(folder, "pgbench", "-i", "-q", "-s", str(SCALE))


def run(folder: Path) -> None:
    """Two lives of the server; then its files are deleted."""
    clients = ("-n", "-c", str(CLIENTS), "-j", "2")
    with server(folder):
        act(folder, "pgbench", *clients, "-T", str(WRITE_S))
        act(folder, "psql", "-c", "VACUUM ANALYZE pgbench_accounts")
        act(folder, "psql", "-c", "CREATE INDEX by_balance ON pgbench_accounts (abalance, filler)")
        time.sleep(REST_S)
    time.sleep(REST_S)
    with server(folder):
        act(folder, "pgbench", *clients, "-S", "-T", str(READ_S))
    time.sleep(REST_S)
    shutil.rmtree(folder / "cluster")
