"""SQLite databases of 0.8 to 3 million rows are loaded, indexed, asked, and deleted again.

An application with its database inside: a page cache of 400 MB in the process, the database files in the
guest's. Memory grows in steps and comes back at once, four times in 70 s, which is what reporting is about.
"""

import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

CACHE_KIB = 400_000
ROUNDS = (1_500_000, 3_000_000, 800_000, 2_000_000)  # rows of each database
PAUSE_S = 4


def people(rows: int, choose: random.Random) -> Iterator[tuple[int, str, float]]:
    """Rows of (id, 120 characters, number)."""
    for number in range(rows):
        yield number, f"{choose.getrandbits(480):0120x}", choose.random()


def load(path: Path, rows: int) -> float:
    """Make one database of `rows` rows with an index, and ask it something."""
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, score REAL)")
    database.executemany("INSERT INTO people VALUES (?, ?, ?)", people(rows, random.Random(rows)))
    database.execute("CREATE INDEX by_name ON people (name)")
    database.commit()
    (answer,) = database.execute("SELECT avg(score) FROM people WHERE name > 'a'").fetchone()
    database.close()
    return float(answer)


def run(folder: Path) -> None:
    """Load the databases one after another; each is deleted after a pause."""
    for rows in ROUNDS:
        path = folder / f"people-{rows}.db"
        print(f"{rows:,} rows, average {load(path, rows):.4f}", flush=True)
        time.sleep(PAUSE_S)
        path.unlink()
        time.sleep(PAUSE_S)
