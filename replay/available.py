"""How much memory this process may still take: what the machine has, less where a cgroup allows less."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
UNLIMITED = 1 << 60  # cgroup v1 says a number near 2^63 where it has no limit


class Available(NamedTuple):
    """Bytes, and who says so."""

    size_bytes: int
    source: str


def available() -> Available:
    """The least of MemAvailable and what each cgroup around this process leaves."""
    return min(_all(), key=lambda each: each.size_bytes)


def _all() -> Iterator[Available]:
    for line in _lines(PROC / "meminfo"):
        if line.startswith("MemAvailable:"):
            yield Available(int(line.split()[1]) << 10, f"MemAvailable of {PROC}/meminfo")
    yield Available(UNLIMITED, "nothing here limits it")
    for folder in _folders():
        if (left := _left(folder)) is not None:
            yield Available(left, f"the limit of the cgroup {folder}")


def _folders() -> Iterator[Path]:
    """The folders of this process's memory cgroups, each with those around it."""
    paths = dict(_own_paths())
    for line in _lines(PROC / "self/mountinfo"):
        before, _, after = line.partition(" - ")
        kind, options = after.split()[0], after.split()[-1].split(",")
        if kind not in ("cgroup", "cgroup2") or (kind == "cgroup" and "memory" not in options):
            continue
        root, mounted = before.split()[3:5]
        path = paths.get(kind)
        if path is None:
            continue
        # Inside a container the mount may begin below the root that the path counts from.
        inside = path.removeprefix(root) if root != "/" and path.startswith(root) else path
        folder = Path(mounted) / inside.strip("/")
        while folder.is_relative_to(mounted):
            yield folder
            folder = folder.parent


def _own_paths() -> Iterator[tuple[str, str]]:
    """(file system's name, path in it) of the hierarchies that account for memory."""
    for line in _lines(PROC / "self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield "cgroup2", path
        elif "memory" in controllers.split(","):
            yield "cgroup", path


def _left(folder: Path) -> int | None:
    """Bytes that a cgroup leaves, or None where it has no limit. Files in its cache can go: left, too."""
    told = dict(line.split(" ", 1) for line in _lines(folder / "memory.stat"))
    cached = int(told.get("total_inactive_file", told.get("inactive_file", 0)))
    for most, now in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        limit, used = _number(folder / most), _number(folder / now)
        if limit is not None and used is not None and limit < UNLIMITED:
            return max(limit - max(used - cached, 0), 0)
    return None


def _number(path: Path) -> int | None:
    """A file's number; None where there is none, or it says `max`."""
    text = "".join(_lines(path))
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
