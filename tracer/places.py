"""A place for a trace or results: a path of this machine, or an address of an object store.

pyarrow is imported only for what is in a store, and to open a file for it.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tracer.faults import Fault
from tracer.matching import has_wildcards, local_matches, matches
from tracer.output import output_fault
from tracer.stores import Missing, file_system, store_fault
from tracer.urls import Url, is_url

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem


@dataclass(frozen=True)
class Entry:
    """A file that a listing told of.

    Attributes:
        place: where it is.
        name: its parts below the place that was listed.
        size_bytes: of it.
        changed_ns: when it was written last, since 1970; of objects, to the second mostly.
    """

    place: "Place"
    name: str
    size_bytes: int
    changed_ns: int


@dataclass(frozen=True)
class Place:
    """A file or folder. Cheap to make: nothing is asked of a disk or store before a method is called.

    `str()` of it is what `of` takes again; it holds no credentials.

    Attributes:
        where: the path or the address.
    """

    where: Path | Url

    @classmethod
    def of(cls, text: "str | Path | Place") -> "Place":
        """The place that a text names: `SCHEME://…` an object store's, anything else a path.

        Raises:
            Fault: for an address that is not possible, or holds credentials.
        """
        if isinstance(text, Place):
            return text
        if isinstance(text, str) and is_url(text):
            return cls(Url.of(text))
        return cls(Path(text))

    def __str__(self) -> str:
        return str(self.where)

    def __truediv__(self, name: str) -> "Place":
        """What is called `name` below it; `name` may have more than one part.

        Raises:
            Fault: for a name that is absolute or leads elsewhere.
        """
        if isinstance(self.where, Url):
            return Place(self.where / name)
        parts = PurePosixPath(name).parts
        if "/".join(parts) != name or ".." in parts or not parts or "\0" in name or name.startswith("/"):
            how = f"{name!r:.80} is absolute, or has an empty part, `.` or `..`"
            raise Fault(f"{self} has no such name below it", how, "name what is below it by its parts")
        return Place(self.where / name)

    @property
    def local(self) -> bool:
        """Is it a path of this machine?"""
        return isinstance(self.where, Path)

    @property
    def path(self) -> Path:
        """The path.

        Raises:
            Fault: when it is in an object store.
        """
        if isinstance(self.where, Path):
            return self.where
        raise Fault(
            f"{self} is no folder of this machine",
            "it is an address of an object store",
            "copy it here first, or give a path",
        )

    @property
    def name(self) -> str:
        """The last part of it."""
        return self.where.name

    @property
    def parent(self) -> "Place":
        """What it is in."""
        return Place(self.where.parent)

    def arrow(self) -> "tuple[FileSystem, str]":
        """A file system of Arrow, and the name of this place in it: for pyarrow.dataset and the like.

        Raises:
            Fault: when there is none for it.
        """
        if isinstance(self.where, Url):
            return file_system(self.where), self.where.inside
        from pyarrow.fs import LocalFileSystem

        return LocalFileSystem(), str(self.where.absolute())

    def exists(self) -> bool:
        """Is a file or folder there?

        Raises:
            Fault: when it cannot be known.
        """
        if isinstance(self.where, Path):
            with self.telling():
                return self.where.exists()
        from pyarrow.fs import FileType

        return bool(self._info().type != FileType.NotFound)

    @property
    def size_bytes(self) -> int:
        """Of a file.

        Raises:
            Missing: when no file is there.
            Fault: when it cannot be known.
        """
        if isinstance(self.where, Path):
            with self.telling():
                return self.where.stat().st_size
        size = self._info().size
        if size is None:
            raise Missing(f"there is no {self}", "the store knows no such object", "check the address")
        return int(size)

    def open(self) -> Any:  # noqa: ANN401 - a pa.NativeFile
        """The file, opened for pyarrow (`pq.ParquetFile`), to be read at any place of it. Close it.

        Raises:
            Missing: when no file is there.
            Fault: when it cannot be opened.
        """
        import pyarrow as pa

        with self.telling():
            if isinstance(self.where, Path):
                return pa.OSFile(str(self.where))
            system, name = self.arrow()
            return system.open_input_file(name)

    def read_bytes(self) -> bytes:
        """All of a file.

        Raises:
            Missing: when no file is there.
            Fault: when it cannot be read.
        """
        with self.telling():
            if isinstance(self.where, Path):
                return self.where.read_bytes()
            with self.open() as file:
                return bytes(file.read())

    def put(self, content: bytes | Path) -> None:
        """Write a file whole, from bytes or a local file: at any instant the old or the new one is there.

        A local one is written aside, synced and renamed, its folders made; an object is there once its last
        byte has come.

        Raises:
            Fault: when it cannot be written; then what was there is there still.
        """
        whole = content if isinstance(content, bytes) else content.read_bytes()
        if isinstance(self.where, Path):
            _put(self.where, whole)
            return
        with self.telling():
            system, name = self.arrow()
            with system.open_output_stream(name, compression=None) as stream:
                stream.write(whole)

    def remove(self) -> None:
        """Remove a file, if it is there.

        Raises:
            Fault: when it cannot be removed.
        """
        with contextlib.suppress(Missing), self.telling():
            if isinstance(self.where, Path):
                self.where.unlink(missing_ok=True)
                return
            system, name = self.arrow()
            system.delete_file(name)

    def below(self) -> list[Entry]:
        """All files in a folder and its folders, by name. Of a store, with one request per 1000 of them.

        Raises:
            Missing: when no such folder is there, or no object in it.
            Fault: when it cannot be listed.
        """
        if isinstance(self.where, Path):
            with self.telling():
                next(self.where.iterdir(), None)  # says why not, where a walk comes to nothing
                return _files_below(self.where)
        found = [_entry(self.where, info) for info in self._listed(deep=True) if info.is_file]
        if not found:
            raise Missing(f"there is no {self}", "the store lists nothing below it", "check the address")
        return sorted(found, key=lambda entry: entry.name)

    def children(self) -> "list[Place]":
        """The files and folders in a folder, by name; none where none is there.

        Raises:
            Fault: when it cannot be listed.
        """
        if isinstance(self.where, Path):
            with contextlib.suppress(Missing), self.telling():
                return [Place(path) for path in sorted(self.where.iterdir())]
            return []
        url = self.where
        return [Place(url.at(_key(info))) for info in sorted(self._listed(), key=lambda info: info.path)]

    def glob(self) -> "list[Place]":
        """What this place's wildcards match, by name: `*`, `?` and `[…]` within a part, `**` any folders.

        Of a store, `?` is none: the address ends there. Names that begin with a dot match only where a dot
        is asked for. A place without wildcards matches itself, there or not; so does a path that is there.

        Raises:
            Fault: when a store cannot be listed.
        """
        if isinstance(self.where, Path):
            return [Place(path) for path in local_matches(self.where)]
        if not has_wildcards(self.where.key):
            return [self]
        url = self.where
        parts = url.key.split("/")
        return [Place(url.at(key)) for key in matches(parts, lambda key, deep: _keys(url.at(key), deep=deep))]

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Make faults of what goes wrong with this place inside.

        Raises:
            Missing: when nothing is there.
            Fault: for anything else that a disk or a store says.
        """
        try:
            yield
        except (OSError, ValueError, NotImplementedError) as error:
            raise self.fault(error) from (error if self.local else None)

    def fault(self, error: Exception) -> Fault:
        """What an error of this place means. What else a store says is left out."""
        if isinstance(self.where, Url):
            how = f"{type(error).__name__} of the Arrow library"
            return store_fault(self.where, error) or Fault(f"{self} cannot be read", how, "look at it there")
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return Missing(f"there is no {self}", str(error.strerror), "check its name")
        how = str(getattr(error, "strerror", None) or error)
        return Fault(f"{self} cannot be read", how, "check its name and rights")

    def _info(self) -> "FileInfo":
        with self.telling():
            system, name = self.arrow()
            return system.get_file_info(name)

    def _listed(self, *, deep: bool = False) -> "list[FileInfo]":
        from pyarrow.fs import FileSelector

        with self.telling():
            system, name = self.arrow()
            try:
                found: list[FileInfo] = system.get_file_info(FileSelector(name, recursive=deep))
            except FileNotFoundError:  # a bucket that is not there says so in another way
                return []
        return found


def _keys(url: Url, *, deep: bool) -> list[str]:
    """What is listed below a prefix, by whole keys."""
    return [_key(info) for info in Place(url)._listed(deep=deep)]  # noqa: SLF001 - of this module


def _key(info: "FileInfo") -> str:
    """Without the bucket."""
    return str(info.path).partition("/")[2]


def _entry(url: Url, info: "FileInfo") -> Entry:
    key = _key(info)
    return Entry(Place(url.at(key)), key[len(url.key) :].lstrip("/"), info.size, info.mtime_ns or 0)


def _files_below(folder: Path) -> list[Entry]:
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            about = path.stat()
            name = path.relative_to(folder).as_posix()
            found.append(Entry(Place(path), name, about.st_size, about.st_mtime_ns))
    return found


def _put(path: Path, content: bytes) -> None:
    """Write a local file aside, sync it and its folder, rename it."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise output_fault(path, error) from error
