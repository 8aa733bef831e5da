"""The rows of a batch's results, as far as a fleet needs them: of one engine and of one set of options."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from replay.fleets.measures import COUNTS, NEEDED, NUMBERS, TEXTS, TRUTHS
from tracer import Fault, Place

if TYPE_CHECKING:
    import polars as pl

ENGINE = "engine"
HINT = "make them with `pagetide batch TRACE… -o DIR`, and name DIR"


def read(results: "str | Path | pl.LazyFrame") -> "tuple[pl.DataFrame, str, list[str]]":
    """NEEDED of the newest engine's rows, that engine, and what was left aside, a line each.

    Raises:
        Fault: when there are none, they are not a batch's, cannot be read, or are of several options.
    """
    import polars as pl

    found = results if isinstance(results, pl.LazyFrame) else _scanned(str(results))
    where = "the frame" if isinstance(results, pl.LazyFrame) else str(results)
    try:
        rows, engine, notes = _newest(found)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(results, where, error) from error
    if rows.is_empty():
        raise Fault(f"there are no results in {where}", "no trace was replayed", HINT)
    _refuse_mixed(rows, where)
    return rows, engine, notes


def _unreadable(results: object, where: str, error: Exception) -> Fault:
    """Naming the file, where it is one of a dataset."""
    from replay.batching.reading import first_unreadable, is_dataset

    if not hasattr(results, "collect") and is_dataset(Place.of(where)) and (found := first_unreadable(where)):
        file, how = found
        return Fault(f"{file} is no file of results", how, "run the batch again: it makes it anew")
    how = (str(error).splitlines() or ["polars says no more"])[0]
    return Fault(f"{where} cannot be read as results of a batch", how, HINT)


def _scanned(where: str) -> "pl.LazyFrame":
    """A dataset's folder or URL, or one Parquet file.

    Raises:
        Fault: for what is no dataset, or has no results.
    """
    import polars as pl

    from replay.batching.reading import results

    return pl.scan_parquet(where, glob=False) if where.endswith(".parquet") else results(where)


def _newest(found: "pl.LazyFrame") -> "tuple[pl.DataFrame, str, list[str]]":
    import polars as pl

    kinds = {
        **dict.fromkeys(TEXTS, pl.String),
        **dict.fromkeys(NUMBERS, pl.Float64),
        **dict.fromkeys(COUNTS, pl.Int64),
        **dict.fromkeys(TRUTHS, pl.Boolean),
    }
    known = ENGINE in found.collect_schema()
    engine = pl.col(ENGINE).cast(pl.String) if known else pl.lit("").alias(ENGINE)
    told = found.select(engine, *(pl.col(name).cast(kinds[name]) for name in NEEDED)).collect()
    # A label is what a setting is called whatever a guest's own defaults are.
    rows = told.rename({"label": "setting"})
    engines = sorted(rows[ENGINE].unique().to_list(), key=_age)
    kept = rows.filter(pl.col(ENGINE) == engines[-1]).drop(ENGINE) if engines else rows.drop(ENGINE)
    older = rows.height - kept.height
    notes = [f"{older:,} results of other engines ({', '.join(engines[:-1])}) are left out"] if older else []
    return kept, engines[-1] if engines else "", notes


def _age(engine: str) -> tuple[bool, list[int], str]:
    """Engines sort by their version, today's above all; of one version the order is only always the same."""
    from replay.batching.dataset import engine as todays

    version, _, _ = engine.rpartition("-")
    return engine == todays(), [int(part) for part in re.findall(r"\d+", version or engine)], engine


def _refuse_mixed(rows: "pl.DataFrame", where: str) -> None:
    """What began otherwise, or on another host, is another question.

    Raises:
        Fault: for rows of several options, or several rows of one guest and setting.
    """
    if rows["options"].n_unique() > 1:
        cases = rows.select("start", "backing").unique().sort("start", "backing").rows()
        words = [f"start {start}, backing {backing}" for start, backing in cases]
        how = "; ".join(words) if len(words) > 1 else f"{words[0]}, but other devices, hosts or costs"
        raise Fault(
            f"{where} has results of several options, which cannot be compared",
            how,
            "batch each into a folder of its own, or give `replay.fleet` a frame that is filtered to one",
        )
    twice = rows.filter(rows.select("address", "setting").is_duplicated())
    if not twice.is_empty():
        address, setting = twice.select("address", "setting").row(0)
        raise Fault(
            f"{where} has {twice.height:,} results where there should be one of each guest and setting",
            f"{address} has more than one of {setting}",
            "keep those of one recording, or batch into an empty folder",
        )
