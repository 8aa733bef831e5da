"""The Parquet files of a trace: their schemas, and how one is written aside."""

import contextlib
import hashlib
import inspect
import os
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from tracer.folder import Folder
from tracer.format import EVENT_COLUMNS, OPTIONAL_COLUMNS, Part
from tracer.layouts import DICTIONARY, Layout

# Arrow libraries that cut pages at some rows whatever their bytes can be told other rows; others need not.
_PAGE_ROWS = "max_rows_per_page"
_CUTS_PAGES = _PAGE_ROWS in inspect.signature(pq.ParquetWriter).parameters
_WIDEST_BYTES = 8  # of a value


def arrow_type(kind: str) -> pa.DataType:
    """The Arrow type of a column of `tracer.format`; `list<T>` is the only nested one."""
    if kind.startswith("list<"):
        return pa.list_(pa.type_for_alias(kind[5:-1]))
    return pa.type_for_alias(kind)


def arrow_schema(columns: dict[str, str]) -> pa.Schema:
    """The Arrow schema of the columns of a kind of file."""
    return pa.schema([(name, arrow_type(kind)) for name, kind in columns.items()])


def event_schema(*, with_pid: bool = False, with_gfp: bool = False) -> pa.Schema:
    """The Arrow schema of events, with the optional columns asked for."""
    wanted = {"pid": with_pid, "gfp": with_gfp}
    return arrow_schema(EVENT_COLUMNS | {n: kind for n, kind in OPTIONAL_COLUMNS.items() if wanted[n]})


def checksum(path: Path) -> str:
    """blake2b-128 of a file, in hex."""
    with path.open("rb") as file:
        return _digest(file)


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    while part := file.read(1 << 20):
        digest.update(part)
    return digest.hexdigest()


def parquet_writer(file: IO[bytes], schema: pa.Schema, layout: Layout) -> pq.ParquetWriter:
    """A Parquet file, its columns written as a layout says."""
    codings = {_leaf(field): layout.coding(field.name) for field in schema}
    plain = {name: coding for name, coding in codings.items() if coding.encoding != DICTIONARY}
    cut = {_PAGE_ROWS: layout.page_rows} if _CUTS_PAGES else {}
    return pq.ParquetWriter(
        file,
        schema,
        compression={name: coding.codec for name, coding in codings.items()},
        compression_level={name: coding.level for name, coding in codings.items() if coding.level},
        use_dictionary=[name for name in codings if name not in plain],
        column_encoding={name: coding.encoding for name, coding in plain.items()},
        data_page_size=layout.page_rows * _WIDEST_BYTES,
        write_page_checksum=True,
        store_schema=False,
        **cut,
    )


def _leaf(field: pa.Field) -> str:
    """A column as Parquet names it."""
    return f"{field.name}.list.element" if pa.types.is_nested(field.type) else field.name


class PartFile:
    """A Parquet file that grows row group by row group, aside; `close` puts it in its place.

    Attributes:
        rows: appended so far.
        size_bytes: written so far. Any thread may look, even while another one closes the file.
    """

    def __init__(self, folder: Folder, kind: str, name: str, schema: pa.Schema, layout: Layout) -> None:
        self.rows = self.size_bytes = 0
        self._folder, self._kind, self._name, self._schema = folder, kind, name, schema
        self._group_rows = layout.group_rows
        self._undo = contextlib.ExitStack()
        self._file = self._undo.enter_context(folder.aside(name))
        self._writer = self._undo.enter_context(parquet_writer(self._file, schema, layout))

    def append(self, table: pa.Table) -> None:
        """Add row groups. `table`: the schema's columns; an empty one adds none."""
        try:
            if table.num_rows:
                self._writer.write_table(table, self._group_rows)
                self.rows += table.num_rows
                self.size_bytes = self._file.tell()
        except BaseException as error:
            self.abandon(error)
            raise

    def close(self) -> Part:
        """Sync it and put it in its place."""
        self._undo.close()
        with os.fdopen(self._folder.open(self._name), "rb") as file:
            digest = _digest(file)
        size = self._folder.size(self._name)
        return Part(f"{self._kind}/{self._name}", self.rows, size, digest)

    def abandon(self, error: BaseException | None = None) -> None:
        """Remove it."""
        reason = error or RuntimeError("abandoned")
        with contextlib.suppress(BaseException):
            self._undo.__exit__(type(reason), reason, None)
        self.size_bytes = 0
