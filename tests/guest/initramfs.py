"""The first userland of a test machine: a cpio archive with busybox, modules and one script."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_DIRECTORY, _FILE = 0o40755, 0o100755
_TRAILER = "TRAILER!!!"

# The machine's root is the host's, read-only, under a tmpfs that takes what is written. /dev, /proc,
# /sys, /run and /tmp are its own; shares lie where they lie on the host. Commands come by number over
# the second serial line; each one's text and output are files in the control share.
_INIT = """#!/bin/busybox sh
busybox=/bin/busybox
$busybox mkdir -p /dev /proc /sys /host /upper /new /control
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sysfs /sys
$busybox mount -t devtmpfs dev /dev
for module in {modules}; do $busybox insmod /modules/$module; done
share='trans=virtio,version=9p2000.L,msize=512000'
set -e
$busybox mount -t 9p -o $share,ro,cache=loose root /host
$busybox mount -t 9p -o $share control /control
$busybox mount -t tmpfs -o size=50% upper /upper
$busybox mkdir /upper/data /upper/work
$busybox mount -t overlay -o lowerdir=/host,upperdir=/upper/data,workdir=/upper/work root /new
$busybox mkdir /whole
$busybox mount --bind /new /whole
for own in run tmp; do $busybox mount -t tmpfs -o mode=1777 $own /new/$own; done
for own in proc sys dev; do $busybox mount --rbind /$own /new/$own; done
$busybox mkdir -p /dev/shm /dev/pts
$busybox mount -t tmpfs shm /dev/shm
$busybox mount -t devpts pts /dev/pts
$busybox mount -t tracefs tracefs /new/sys/kernel/tracing
$busybox ip link set lo up
for hidden in {hidden}; do
    $busybox mkdir -p "/new$hidden"
    $busybox mount --bind "/whole$hidden" "/new$hidden"
done
{shares}
set +e
exec 3<>/dev/ttyS1
$busybox stty raw -echo <&3
echo ready >&3
while read -r number <&3 && [ "$number" != off ]; do
    $busybox setsid $busybox chroot /new /bin/sh -c "$($busybox cat /control/$number.sh)" \\
        </dev/null >/control/$number.out 2>/control/$number.err 3>&-
    echo "$number $?" >&3
done
$busybox sync
$busybox poweroff -f
"""
_SHARE = """$busybox mkdir -p /new{path}
$busybox mount -t 9p -o $share {tag} /new{path}"""


@dataclass(frozen=True)
class Share:
    """A folder of the host that the machine may write to, at the same path inside."""

    tag: str
    path: Path


def build(busybox: Path, modules: list[Path], shares: Iterable[Share], needed: Iterable[Path]) -> bytes:
    """The archive. `needed`: folders that must stay visible where /tmp is the machine's own."""
    hidden = [path for path in needed if path.is_relative_to("/tmp")]
    script = _INIT.format(
        modules=" ".join(module.name for module in modules),
        hidden=" ".join(shlex.quote(str(path)) for path in hidden),
        shares="\n".join(_SHARE.format(tag=s.tag, path=shlex.quote(str(s.path))) for s in shares),
    )
    entries = [("bin", b""), ("modules", b""), ("bin/busybox", busybox.read_bytes())]
    entries += [(f"modules/{module.name}", module.read_bytes()) for module in modules]
    return archive([*entries, ("init", script.encode())])


def archive(entries: Iterable[tuple[str, bytes]]) -> bytes:
    """A `newc` cpio archive; an entry without content is a folder."""
    parts = [_entry(number, name, data) for number, (name, data) in enumerate(entries, 1)]
    return b"".join(parts) + _entry(0, _TRAILER, b"")


def _entry(number: int, name: str, data: bytes) -> bytes:
    mode = _FILE if data else _DIRECTORY
    # inode, mode, uid, gid, links, mtime, size, device (2), special device (2), length of name, checksum
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % value for value in fields)
    return _padded(head + name.encode() + b"\0") + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
