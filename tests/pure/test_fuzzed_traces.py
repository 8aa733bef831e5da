"""Traces damaged at random, many of them under `make soak`: a fault of three lines, or an answer; never
another exception. What is damaged without being refused or told gives the answer of the whole trace.

A case is its number: `PAGETIDE_FUZZ=N` runs that one alone.
"""

import copy
import faulthandler
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pure import damage
from tests.pure.damage import COMMANDS, COUNTERS, EVENTS, FRAMES_FILE, LISTS, SAMPLES
from tests.pure.small_traces import FRAMES
from tracer import Op
from tracer.faults import ExitCode, Fault

CASES = 20_000 if os.environ.get("PAGETIDE_SOAK") else 480
ONLY = os.environ.get("PAGETIDE_FUZZ")
PART = 60  # cases of one test
SECONDS = 120  # for one case; far more than any needs
FILES = [EVENTS, FRAMES_FILE, LISTS, SAMPLES, COUNTERS]
TEXTS = ["manifest.json", "segments.jsonl"]
NUMBERS = [-1, 0, 1, 2, 7, 64, 255, 256, 4095, 4096, 8193, 65536, 1 << 20, 1 << 40, 1 << 48, 1 << 62]
NUMBERS += [(1 << 63) - 1, 1 << 63, (1 << 64) - 1024, (1 << 64) - 1, 1 << 64, 10**30, -(1 << 31), -(1 << 63)]
HOSTILE: list[Any] = [
    *NUMBERS,
    0.5,
    1e308,
    float("nan"),
    float("-inf"),
    True,
    None,
    [],
    {},
    [1],
    [[]],
    {"a": 1},
]
HOSTILE += ["", "x", "\ud800", "../x", "a\0b", "\x1b[31m", "x" * 5000, "Normal", "end", "start", "complete"]
Rng = np.random.Generator


# Ways to damage. Each gives whether the trace is still one that can be: of such, the answer may be another.


def change_json(rng: Rng, value: Any) -> None:
    """Drop, double or replace something inside a JSON value."""
    places = list(_places(value))
    if not places:
        return
    holder, key = places[rng.integers(len(places))]
    kind = rng.integers(4)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(int(rng.integers(len(holder) + 1)), copy.deepcopy(holder[key]))
    elif kind == 2:
        other, name = places[rng.integers(len(places))]
        holder[key] = copy.deepcopy(other[name])
    else:
        holder[key] = copy.deepcopy(HOSTILE[rng.integers(len(HOSTILE))])


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    inside = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    for key, entry in inside:
        yield value, key
        if isinstance(entry, dict | list):
            yield from _places(entry)


def of_manifest(rng: Rng, path: Path) -> bool:
    damage.edit_manifest(path, lambda data: change_json(rng, data))
    return True


def of_index(rng: Rng, path: Path) -> bool:
    """A line with a right checksum, whatever it says."""
    entries = [json.loads(line)["line"] for line in (path / "segments.jsonl").read_text().splitlines()]
    change_json(rng, entries)
    (path / "segments.jsonl").write_text("".join(map(damage.signed, entries)))
    return True


def of_lines(rng: Rng, path: Path) -> bool:
    """Lines gone, doubled or swapped."""
    file = path / "segments.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[at] for at in rng.integers(len(lines), size=rng.integers(4))))
    return False


def of_bytes(rng: Rng, path: Path) -> bool:
    """Bits flipped, the end cut off, or a piece put elsewhere; size and checksum are as they were."""
    name = str(rng.choice([*FILES, *TEXTS]))
    _spoil(rng, path / name)
    return name == "manifest.json"


def of_signed_bytes(rng: Rng, path: Path) -> bool:
    """The same in a Parquet file whose checksum is right."""
    name = str(rng.choice(FILES))
    _spoil(rng, path / name)
    damage.agree(path, name)
    return False


def _spoil(rng: Rng, file: Path) -> None:
    data = bytearray(file.read_bytes())
    kind = rng.integers(4)
    if kind == 0:
        del data[int(rng.integers(len(data))) :]
    elif kind == 1:
        first, to, size = (int(n) for n in rng.integers(len(data), size=3))
        data[to : to + size % 64] = data[first : first + size % 64]
    else:
        # The footer tells where everything is, and no checksum of its own guards it.
        least = max(len(data) - 600, 0) if kind == 2 else 0
        for _ in range(rng.integers(1, 4)):
            data[int(rng.integers(least, len(data)))] ^= 1 << int(rng.integers(8))
    file.write_bytes(data)


def of_cells(rng: Rng, path: Path) -> bool:
    """Some cells of a Parquet file replaced; what does not fit in its column makes it another type."""
    name = str(rng.choice(FILES))
    table = pq.read_table(path / name)
    column = int(rng.integers(table.num_columns))
    field, values = table.schema.field(column), table.column(column).to_pylist()
    for _ in range(rng.integers(1, 3)):
        values[int(rng.integers(len(values)))] = copy.deepcopy(HOSTILE[rng.integers(len(HOSTILE))])
    changed = _array(values, field.type)
    damage.store(path, name, table.set_column(column, field.name, changed))
    return name != EVENTS or _possible(pq.read_table(path / name))


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    for wanted in (kind, None):
        try:
            return pa.array(values, wanted)
        except (pa.ArrowException, OverflowError, UnicodeError, TypeError):
            continue
    return pa.array([str(value).encode("utf-8", "replace") for value in values])


def _possible(table: pa.Table) -> bool:
    """Are these events that a kernel could have told of in the second segment?"""
    times = [row["ts_ns"] for row in table.to_pylist()]
    if times != sorted(times, key=lambda at: at or 0):
        return False
    for row in table.to_pylist():
        if None in row.values() or not all(isinstance(value, int) for value in row.values()):
            return False
        order, pfn = row["order"], row["pfn"]
        known = row["op"] in list(Op) and order <= 10 and -1 <= row["migratetype"] < 5
        placed = 0 <= pfn <= FRAMES - (1 << min(order, 10)) and pfn % (1 << min(order, 10)) == 0
        if not (known and placed and 4_000_000 <= row["ts_ns"] <= 6_000_000):
            return False
    return True


def of_rows(rng: Rng, path: Path) -> bool:
    """Rows of a Parquet file gone, doubled or swapped."""
    name = str(rng.choice(FILES))
    table = pq.read_table(path / name)
    rows = rng.integers(table.num_rows, size=rng.integers(table.num_rows + 3))
    damage.store(path, name, table.take(pa.array(rows)))
    return name in (SAMPLES, COUNTERS, LISTS)  # fewer of them make another trace, not a wrong one


def of_columns(rng: Rng, path: Path) -> bool:
    """A column of a Parquet file gone, doubled, of another type, or under another name."""
    name = str(rng.choice(FILES))
    table = pq.read_table(path / name)
    column = int(rng.integers(table.num_columns))
    kind, field = rng.integers(4), table.schema.field(column)
    if kind == 0:
        table = table.drop_columns([field.name])
    elif kind == 1:
        table = table.append_column(field.name, table.column(column))
    elif kind == 2:
        table = table.set_column(column, field.name, pa.array([str(v) for v in table.column(column)]))
    else:
        other = table.schema.names[int(rng.integers(table.num_columns))]
        table = table.rename_columns([other if n == field.name else n for n in table.schema.names])
    damage.store(path, name, table)
    return False


def of_files(rng: Rng, path: Path) -> bool:
    """A file gone, empty, a folder, or another of the trace's files in its place."""
    name = str(rng.choice([*FILES, *TEXTS]))
    file, kind = path / name, rng.integers(4)
    other = path / str(rng.choice(FILES))
    data = other.read_bytes()
    file.unlink()
    if kind == 1:
        file.write_bytes(b"")
    elif kind == 2:
        file.mkdir()
    elif kind == 3:
        file.write_bytes(data)
    return False


WAYS: list[Callable[[Rng, Path], bool]] = [
    of_manifest, of_manifest, of_index, of_lines, of_bytes, of_signed_bytes, of_signed_bytes, of_cells,
    of_cells, of_rows, of_columns, of_files,
]  # fmt: skip


# What must hold


@pytest.fixture(scope="module")
def whole(tmp_path_factory: Any) -> Path:
    return damage.write(tmp_path_factory.mktemp("whole") / "a.trace")


@pytest.fixture(scope="module")
def answers(whole: Path) -> dict[str, Any]:
    """What is answered of the whole trace."""
    return {command: answer_of(damage.said(command, whole, "--json")) for command in COMMANDS}


def answer_of(said: damage.Said) -> Any:
    """What a command answers, without where the trace is and what its files are like."""
    data = json.loads(said.out)
    for holder, key in list(_places(data)):
        if key in ("parts", "path", "size_bytes", "source", "source_size_bytes") or (
            key == "trace" and isinstance(holder[key], str)
        ):
            holder[key] = None
    return data


def check(path: Path, command: str, told: damage.Said, expected: Any) -> None:
    """A fault is three lines; what is right and in silence is what is answered of the whole trace."""
    assert told.code in list(ExitCode), told  # the environment's: a guest larger than the memory there is
    if told.code in (ExitCode.USAGE, ExitCode.ENVIRONMENT):
        assert len(told.err.splitlines()) == 3, told
        assert all(len(line) < 6000 for line in told.err.splitlines()), told
        assert any(words in told.err for words in (path.name, "damaged at", "a guest with frames up to")), (
            told
        )
    elif expected is not None and told.code == ExitCode.DONE:
        answer = answer_of(told)
        counted = impossible(answer) > impossible(expected)
        assert counted or answer == expected, f"{command} answers otherwise, and says nothing of it"


def impossible(answer: Any) -> int:
    """Steps that cannot be, as far as an answer counts them."""
    counts = ("exit_of_used", "entry_of_free", "outside", "unknown_ops", "clock_back")
    return sum(answer.get("fidelity", {}).get(name, 0) for name in counts)


def spoilt(number: int, whole: Path, folder: Path) -> tuple[Path, bool]:
    """The case of that number: the trace, and whether it may still be one that can be."""
    rng = np.random.default_rng(number)
    path = folder / f"{number}.trace"
    shutil.copytree(whole, path)
    can_be = False
    for _ in range(rng.choice([1, 1, 1, 2])):
        way = WAYS[rng.integers(len(WAYS))]
        try:
            can_be |= way(rng, path)
        except (KeyError, TypeError, ValueError, AttributeError, OSError, Fault, pa.ArrowException):
            can_be = True  # the first damage left nothing for the second
    return path, can_be


@pytest.mark.parametrize("first", [int(ONLY)] if ONLY else range(0, CASES, PART))
def test_a_damaged_trace_is_refused_or_told_of_or_answered_rightly(
    first: int, whole: Path, answers: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("replay.geometry._memory_bytes", lambda: 64 << 20)  # a guest of any size is refused
    for number in range(first, first + (1 if ONLY else PART)):
        path, can_be = spoilt(number, whole, tmp_path)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            for command in COMMANDS:
                as_json = ["--json"] if not can_be or number % 2 else []
                told = damage.said(command, path, *as_json)
                check(path, command, told, None if can_be else answers[command])
        except BaseException as error:
            error.add_note(f"PAGETIDE_FUZZ={number}")
            raise
        finally:
            faulthandler.cancel_dump_traceback_later()
        shutil.rmtree(path)
