"""Damages, as functions of a trace's path: what `test_damaged_traces` does to a trace."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.pure import damage
from tests.pure.damage import EVENTS

Damage = Callable[[Path], object]


def manifest(change: Callable[[Any], object]) -> Damage:
    return lambda path: damage.edit_manifest(path, change)


def index(change: Callable[[list[Any]], object]) -> Damage:
    return lambda path: damage.edit_index(path, change)


def rows(name: str, *changes: Callable[[damage.Rows], object]) -> Damage:
    def apply(path: Path) -> None:
        for change in changes:
            damage.rewrite(path, name, change)

    return apply


def events(*changes: Callable[[damage.Rows], object]) -> Damage:
    return rows(EVENTS, *changes)


def both(*damages: Damage) -> Damage:
    def apply(path: Path) -> None:
        for each in damages:
            each(path)

    return apply


def last_row_again(table: damage.Rows) -> None:
    for values in table.values():
        values.append(values[-1])


def reverse(table: damage.Rows) -> None:
    for values in table.values():
        values.reverse()


def out_of_order(lines: list[Any]) -> None:
    """Without samples, which would be refused."""
    lines.reverse()
    for line in lines:
        line.update(samples=None)


def no_rows(table: damage.Rows) -> None:
    for values in table.values():
        values.clear()


def zone(index: int = 0, **over: Any) -> Damage:
    def change(data: Any) -> None:
        for owner in (data, *data["snapshots"]):
            owner["zones"][index].update(over)

    return manifest(change)


def more_zone(**over: Any) -> Damage:
    def change(data: Any) -> None:
        for owner in (data, *data["snapshots"]):
            owner["zones"].append(owner["zones"][0] | over)

    return manifest(change)


def shot(number: int, **over: Any) -> Damage:
    return manifest(lambda data: data["snapshots"][number].update(over))


def guest(**over: Any) -> Damage:
    return manifest(lambda data: data["guest"].update(over))


def text(name: str, before: bytes, after: bytes) -> Damage:
    return lambda path: (path / name).write_bytes((path / name).read_bytes().replace(before, after, 1))


def no_text(path: Path) -> None:
    """The name of a column is not UTF-8."""
    (path / EVENTS).write_bytes((path / EVENTS).read_bytes().replace(b"pfn", b"p\xfen"))
    damage.agree(path, EVENTS)


def index_as_folder(path: Path) -> None:
    (path / "segments.jsonl").unlink()
    (path / "segments.jsonl").mkdir()


def same_file_again(path: Path) -> None:
    """The second segment once more, under another name."""
    (path / "events/00002.parquet").write_bytes((path / EVENTS).read_bytes())
    damage.edit_index(path, lambda lines: lines.append(lines[-1] | {"file": "events/00002.parquet"}))


def same_rows_again(path: Path) -> None:
    """The second segment's rows once more, in another file; the manifest counts them."""
    pq.write_table(pq.read_table(path / EVENTS), path / "events/00002.parquet", compression="none")
    beside = {"samples": None, "counters": None, "file": "events/00002.parquet"}
    damage.edit_index(path, lambda lines: lines.append(lines[-1] | beside))
    damage.agree(path, "events/00002.parquet")
    damage.count_again(path, 8)


def with_column(name: str, column: str, values: Any) -> Damage:
    def apply(path: Path) -> None:
        table = pq.read_table(path / name)
        place = table.schema.get_field_index(column)
        damage.store(path, name, table.set_column(place, column, values))

    return apply
