"""A folder held open: files inside it are made, renamed and removed through it, never by a path.

Whoever may rename the folder or plant links beside it cannot redirect what is written.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import IO

_HERE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """An open folder. Files get `file_mode`; folders the same, and may be entered by who may read."""

    def __init__(self, fd: int, file_mode: int = 0o600) -> None:
        self.fd, self.file_mode = fd, file_mode

    @classmethod
    def make(cls, name: str, parent_fd: int, file_mode: int = 0o600) -> "Folder":
        """Make a folder and hold it.

        Raises:
            OSError: when it exists, or cannot be made, or somebody put another in its place.
        """
        os.mkdir(name, 0o700, dir_fd=parent_fd)
        fd = os.open(name, _HERE, dir_fd=parent_fd)
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077 or _names(fd):
            os.close(fd)
            raise FileExistsError(17, "somebody replaced the new folder", name)
        os.fchmod(fd, file_mode | (file_mode & 0o444) >> 2 | 0o700)
        return cls(fd, file_mode)

    def sub(self, name: str) -> "Folder":
        """Make a folder inside and hold it."""
        return Folder.make(name, self.fd, self.file_mode)

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of a file inside; links are not followed."""
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, self.file_mode, dir_fd=self.fd)
        if flags & os.O_CREAT:
            os.fchmod(fd, self.file_mode)  # whatever the umask
        return fd

    @contextlib.contextmanager
    def aside(self, name: str) -> Iterator[IO[bytes]]:
        """A new file to write; synced and put in its place at the end, or gone without a trace."""
        temporary = f".{name}.tmp"
        self.remove(temporary)
        with contextlib.ExitStack() as undo:
            undo.callback(self.remove, temporary)
            with os.fdopen(self.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            undo.pop_all()

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    def size(self, name: str) -> int:
        """Bytes of a file inside."""
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_size

    def free_bytes(self) -> int:
        """What is left on its disk for this user."""
        disk = os.fstatvfs(self.fd)
        return disk.f_bavail * disk.f_frsize

    def give_to(self, uid: int, gid: int) -> None:
        """Change the owner of the folder and of the files in it."""
        for name in _names(self.fd):
            os.chown(name, uid, gid, dir_fd=self.fd, follow_symlinks=False)
        os.fchown(self.fd, uid, gid)

    def close(self) -> None:
        """Let it go."""
        os.close(self.fd)


def _names(fd: int) -> list[str]:
    return os.listdir(fd)
