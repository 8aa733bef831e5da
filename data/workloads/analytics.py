"""DuckDB loads tables of 4 to 12 million sales, groups, joins and sorts them, and throws each away.

What dashboards and nightly reports do: every query takes hash tables and sort runs far larger than the CPU's
caches and drops them when it has answered; between reports next to nothing is held. The files that are read
stay in the page cache, and an allocator that gives back late (jemalloc) stands between program and guest.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

PYPI = ("duckdb==2.0.0",)

FILE_ROWS = 12_500_000
PRODUCTS = 400_000
REPORTS = (6_500_000, 12_500_000, 4_000_000, 9_500_000)  # rows that each report loads
THREADS = 2
LIMIT = "5GB"  # what DuckDB may take before it spills to the folder
PAUSE_S = 7

QUERIES = (
    "SELECT customer, count(*), sum(price), max(day) FROM sales GROUP BY customer",
    "SELECT kind, day, avg(price * sales.number) FROM sales JOIN products USING (product) GROUP BY kind, day",
    "SELECT * FROM sales ORDER BY price, note",
    "SELECT *, rank() OVER (PARTITION BY product ORDER BY price) FROM sales",
)


def connect(folder: Path) -> "duckdb.DuckDBPyConnection":
    """A database in memory that spills into `folder` if it has to."""
    import duckdb

    database = duckdb.connect(":memory:")
    database.execute(f"SET threads = {THREADS}")
    database.execute(f"SET memory_limit = '{LIMIT}'")
    database.execute(f"SET temp_directory = '{folder / 'spill'}'")
    return database


def prepare(folder: Path) -> None:
    """Write the sales and the products as Parquet; hashes of the row's number are their random values."""
    database = connect(folder)
    sales = f"""SELECT i AS id, hash(i) % {FILE_ROWS // 8} AS customer, hash(i + 1) % {PRODUCTS} AS product,
        (hash(i + 2) % 100000) / 100.0 AS price, (hash(i + 3) % 9)::INTEGER AS number,
        DATE '2024-01-01' + (hash(i + 4) % 365)::INTEGER AS day, hash(i + 5)::VARCHAR AS note
        FROM range({FILE_ROWS}) AS rows(i)"""
    products = f"SELECT i AS product, 'kind ' || hash(i) % 500 AS kind FROM range({PRODUCTS}) AS rows(i)"
    for name, rows in (("sales", sales), ("products", products)):
        database.execute(f"COPY ({rows}) TO '{folder / name}.parquet' (FORMAT parquet)")
    database.close()


def report(folder: Path, rows: int) -> None:
    """Load `rows` of the sales, ask the queries, and let each result go as soon as it is there."""
    database = connect(folder)
    database.execute(f"CREATE TABLE products AS FROM '{folder}/products.parquet'")
    database.execute(f"CREATE TABLE sales AS FROM '{folder}/sales.parquet' LIMIT {rows}")
    for query in QUERIES:
        database.execute(f"CREATE TABLE result AS {query}")
        print(query, "->", database.execute("SELECT count(*) FROM result").fetchone(), flush=True)
        database.execute("DROP TABLE result")
    database.close()


def run(folder: Path) -> None:
    """One report after another, each with a database of its own."""
    for rows in REPORTS:
        report(folder, rows)
        time.sleep(PAUSE_S)
