"""The files of a trace in an object store: one listing tells of all of them; of events, only the columns
that are asked for travel.

Arrow asks for the chunks of those columns by ranges, near ones in one request (`pre_buffer`), for as many row
groups at once as hold STRETCH_ROWS, at least one. The next OPENED_AHEAD files are opened, which takes two
requests each, while the caller uses one.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from tracer.places import Entry, Place
from tracer.stores import Missing

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

STRETCH_ROWS = 1 << 20
OPENED_AHEAD = 4
_MOST_KEPT = 4096  # open files with their footers, some KiB each

T = TypeVar("T")


class Objects:
    """What is below a prefix, as it was when it was listed. Methods raise faults of the store only; what is
    wrong inside a file is for the caller to say.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._kept: dict[str, tuple[Any, Any]] = {}

    def __reduce__(self) -> "tuple[type[Objects], tuple[Place]]":
        """Another process opens and lists them anew."""
        return Objects, (self.place,)

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """Files by name.

        Raises:
            Missing: when there are none.
            Fault: when they cannot be listed.
        """
        return {entry.name: entry for entry in self.place.below()}

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(entry.size_bytes for entry in self.entries.values())

    def size(self, name: str) -> int:
        """Of one.

        Raises:
            Missing: when it is not there.
        """
        if name not in self.entries:
            raise Missing(f"there is no {self.place / name}", "the store does not list it", "check the copy")
        return self.entries[name].size_bytes

    def checksum(self, name: str) -> str:
        """blake2b-128 of a file, in hex."""
        digest = hashlib.blake2b(digest_size=16)
        with (self.place / name).open() as file:
            while part := file.read(1 << 20):
                digest.update(part)
        return digest.hexdigest()

    def parquet(self, name: str) -> "pq.ParquetFile":
        """A file, open to be read in part; its size is asked for and its footer travels once."""
        import pyarrow.parquet as pq

        source, footer = self._kept.get(name) or ((self.place / name).open(), None)
        file = pq.ParquetFile(source, metadata=footer, pre_buffer=True, page_checksum_verification=True)
        if len(self._kept) < _MOST_KEPT:
            self._kept[name] = source, file.metadata
        return file

    def opened(
        self, names: Iterable[str], check: "Callable[[Callable[[], pq.ParquetFile], str], pq.ParquetFile]"
    ) -> "Iterator[pq.ParquetFile]":
        """Files, in order, the next ones opened by other threads.

        `check(open, name)`: opens a file and says what is wrong with it.
        """
        return in_order(partial(check, partial(self.parquet, name), name) for name in names)


def batches_of(file: "pq.ParquetFile", rows: int, columns: list[str]) -> "Iterator[pa.RecordBatch]":
    """The rows of a file, at most `rows` at a time. Arrow holds the chunks of one stretch at once."""
    groups: list[int] = []
    held = 0
    for group in range(file.metadata.num_row_groups):
        more = file.metadata.row_group(group).num_rows
        if groups and held + more > STRETCH_ROWS:
            yield from file.iter_batches(rows, row_groups=groups, columns=columns)
            groups, held = [], 0
        groups, held = [*groups, group], held + more
    if groups:
        yield from file.iter_batches(rows, row_groups=groups, columns=columns)


def in_order(tasks: Iterable[Callable[[], T]]) -> Iterator[T]:
    """What tasks return, in their order; OPENED_AHEAD of them are under way while the caller uses one.

    Raises:
        Fault: and whatever else a task raises.
    """
    pool, coming = ThreadPoolExecutor(OPENED_AHEAD), deque[Future[T]]()
    try:
        for task in tasks:
            coming.append(pool.submit(task))
            if len(coming) > OPENED_AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
