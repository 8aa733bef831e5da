"""The files of a trace, read: none outside its folder, none under two names, none of another shape."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from tracer.faults import Fault
from tracer.format import Part
from tracer.index import RECORD_AGAIN
from tracer.objects import Objects, batches_of
from tracer.parquet import arrow_schema, arrow_type, checksum
from tracer.places import Place
from tracer.stores import Missing, store_fault
from tracer.urls import Url

T = TypeVar("T")


class Files:
    """What is in a trace's folder, of this machine or in a store. Each method raises a fault that names the
    file.

    Names are as in the index: KIND/NAME.parquet.

    Attributes:
        objects: the files in a store; None of a folder of this machine.
    """

    def __init__(self, place: Place) -> None:
        self._folder = place
        self.objects = None if place.local else Objects(place)

    def inside(self, name: str) -> Path:
        """Where a file of this machine is; nobody can name one outside the folder, nor one by two names."""
        try:
            path, folder = (self._folder.path / name).resolve(), self._folder.path.resolve()
        except (OSError, ValueError) as error:
            raise Fault(f"the trace {self._folder} names no file", f"{name!r:.80}", RECORD_AGAIN) from error
        if not path.is_relative_to(folder):
            raise Fault(f"the trace {self._folder} names a file outside itself", name, "do not use it")
        if str(path.relative_to(folder)) != name:
            how = f"{name} is {path.relative_to(folder)}"
            raise Fault(f"the trace {self._folder} names a file by another name", how, RECORD_AGAIN)
        return path

    def _source(self, name: str) -> Any:  # noqa: ANN401 - a Path or a pa.NativeFile
        """What Arrow reads a whole file from."""
        return self._checked(self._below(name).open, name) if self.objects else self.inside(name)

    def _below(self, name: str) -> Place:
        """Where a file of a store is; nobody can name one outside the trace's prefix."""
        try:
            return self._folder / name
        except Fault as fault:
            how = f"{name!r:.80}"
            raise Fault(
                f"the trace {self._folder} names a file outside itself", how, "do not use it"
            ) from fault

    def size(self, name: str) -> int:
        """Its bytes."""
        if self.objects:
            self._below(name)
            return self._checked(partial(self.objects.size, name), name)
        try:
            return self.inside(name).stat().st_size
        except OSError as error:
            raise Fault(
                f"the trace {self._folder} lacks {name}", f"{error.strerror}", RECORD_AGAIN
            ) from error

    def check_size(self, part: Part) -> None:
        """Refuse a file that is not there, or has another size."""
        size = self.size(part.file)
        if size != part.size_bytes:
            raise Fault(
                f"the trace {self._folder} is truncated or changed at {part.file}",
                f"it has {size} bytes, the trace says {part.size_bytes}",
                RECORD_AGAIN,
            )

    def check_content(self, part: Part) -> None:
        """Refuse a file that does not match its checksum."""
        objects = self.objects
        read = partial(objects.checksum, part.file) if objects else partial(checksum, self.inside(part.file))
        if self._checked(read, part.file) != part.checksum:
            raise self._damaged(part.file, "the file does not match its checksum")

    def table(self, name: str, columns: dict[str, str], part: Part | None = None) -> pa.Table:
        """A file of small size. `part`: what the trace says of it."""
        source = self._source(name)
        table: pa.Table = self._checked(lambda: pq.read_table(source, page_checksum_verification=True), name)
        self._check_columns(table.schema, columns, name)
        self._check_rows(name, part, table.num_rows)
        if any(map(_empty_fields, table.columns)):
            raise self._damaged(name, "it has empty fields")
        return table.select(list(columns)).cast(arrow_schema(columns))

    def names(self, name: str) -> list[str]:
        """The columns of a file."""
        names: list[str] = self._checked(lambda: pq.read_schema(self._source(name)).names, name)
        return names

    def batches(
        self, parts: list[Part], columns: dict[str, str], rows: int
    ) -> Iterator[Iterator[pa.RecordBatch]]:
        """Files of any size, each at most `rows` at a time."""
        names = [part.file for part in parts]
        files = self.objects.opened(names, self._checked) if self.objects else map(self._open, names)
        for part, file in zip(parts, files, strict=True):
            yield self._batches(part, file, columns, rows)

    def _open(self, name: str) -> pq.ParquetFile:
        path = self.inside(name)
        return self._checked(lambda: pq.ParquetFile(path, page_checksum_verification=True), name)

    def _batches(
        self, part: Part, file: pq.ParquetFile, columns: dict[str, str], rows: int
    ) -> Iterator[pa.RecordBatch]:
        self._check_columns(file.schema_arrow, columns, part.file)
        self._check_rows(part.file, part, file.metadata.num_rows)
        read = partial(batches_of, file) if self.objects else file.iter_batches
        batches, done = read(rows, columns=list(columns)), 0
        while (batch := self._checked(lambda: next(batches, None), part.file)) is not None:
            if any(column.null_count for column in batch.columns):
                raise self._damaged(part.file, f"it has empty fields in {', '.join(columns)}")
            done += batch.num_rows
            yield batch
        self._check_rows(part.file, part, done)

    def _checked(self, read: Callable[[], T], name: str) -> T:
        """What `read()` returns, or a fault naming the file. Arrow says of damage what it meets first."""
        try:
            return read()
        except Missing as fault:
            raise Fault(f"the trace {self._folder} lacks {name}", fault.how, RECORD_AGAIN) from fault
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            if isinstance(self._folder.where, Url) and (told := store_fault(self._folder.where, error)):
                raise told from None
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise self._damaged(name, reason) from error

    def _check_rows(self, name: str, part: Part | None, rows: int) -> None:
        if part and rows != part.rows:
            raise self._damaged(name, f"it has {rows} rows, the trace says {part.rows}")

    def _check_columns(self, schema: pa.Schema, columns: dict[str, str], name: str) -> None:
        """Refuse a file in which a column is missing, there twice, or has another type."""
        names = self._checked(lambda: schema.names, name)
        for column, kind in columns.items():
            if column not in names:
                raise self._damaged(name, f"it has no column {column}, only {', '.join(names)}")
            if names.count(column) > 1:
                raise self._damaged(name, f"it has {names.count(column)} columns {column}")
            found = schema.field(column).type
            if found != arrow_type(kind):
                raise self._damaged(name, f"its column {column} is {found}, not {kind}")

    def _damaged(self, name: str, how: str) -> Fault:
        return Fault(f"the trace {self._folder} is damaged at {name}", how, RECORD_AGAIN)


def _empty_fields(column: Any) -> bool:  # noqa: ANN401 - a pa.ChunkedArray
    """Is a field, or one of those of a list, empty?"""
    nested = pa.types.is_list(column.type)
    return bool(column.null_count or (nested and any(part.flatten().null_count for part in column.chunks)))
