"""Which of two accounts' reports, passes and batches are the same ones."""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECOND_NS = 1_000_000_000
NEAR_NS = SECOND_NS  # what is the same happens within a second
PASS_GAP_NS = SECOND_NS  # passes are two seconds apart, the batches of one far less


def same_ranges(truth: pl.DataFrame, predicted: pl.DataFrame) -> pl.DataFrame:
    """Pairs of rows with the same pfn and pages, within a second of each other, each row in one pair at
    most: `truth` and `predicted` (row numbers), `error_ns` (predicted - truth).
    """
    keys = ["pfn", "pages"]
    left = truth.select(*keys, "ts_ns").with_row_index("truth").sort("ts_ns")
    right = predicted.select(*keys, pl.col("ts_ns").alias("at_ns")).with_row_index("predicted").sort("at_ns")
    near = left.join_asof(
        right, left_on="ts_ns", right_on="at_ns", by=keys, strategy="nearest", tolerance=NEAR_NS,
        check_sortedness=False,
    ).drop_nulls("predicted")  # fmt: skip
    pairs = near.with_columns((pl.col("at_ns") - pl.col("ts_ns")).alias("error_ns"))
    # Of several that are nearest to the same one, only the nearest is it.
    best = pairs.sort(pl.col("error_ns").abs(), "truth").unique(
        "predicted", keep="first", maintain_order=True
    )
    return best.select("truth", "predicted", "error_ns").sort("truth")


def frames_of(ranges: pl.DataFrame, frames: int) -> "NDArray[np.bool_]":
    """Which of the guest's frames are in any range."""
    edges = np.zeros(frames + 1, np.int64)
    np.add.at(edges, ranges["pfn"].to_numpy(), 1)
    np.add.at(edges, (ranges["pfn"] + ranges["pages"]).to_numpy(), -1)
    return np.cumsum(edges[:-1]) > 0


def in_passes(ranges: pl.DataFrame) -> pl.DataFrame:
    """The same rows with `pass`, from 0: a new one after each second without a report."""
    begins = (pl.col("ts_ns").diff() > PASS_GAP_NS).fill_null(value=False)
    return ranges.with_columns(begins.cum_sum().cast(pl.Int64).alias("pass"))


def passes_of(reports: pl.DataFrame) -> pl.DataFrame:
    """A row for each pass that reported anything: `pass`, `begin_ns` (the model's: when its first call was
    handed over), `end_ns`.
    """
    begin = "begin_ns" if "begin_ns" in reports.columns else "ts_ns"
    return reports.group_by("pass", maintain_order=True).agg(
        pl.col(begin).min().alias("begin_ns"), pl.col("ts_ns").max().alias("end_ns")
    )


def nearest(truth_ns: "NDArray[np.int64]", predicted_ns: "NDArray[np.int64]") -> list[tuple[int, int]]:
    """Pairs (index of truth, of predicted) of instants within a second, in order, each in one pair."""
    pairs, at = [], 0
    for index, instant in enumerate(truth_ns):
        while at < len(predicted_ns) and predicted_ns[at] < instant - NEAR_NS:
            at += 1
        if at < len(predicted_ns) and predicted_ns[at] <= instant + NEAR_NS:
            pairs.append((index, at))
            at += 1
    return pairs


def members(reports: pl.DataFrame) -> list[tuple[int, list[tuple[int, int]]]]:
    """(time, [(pfn, pages), ...]) of each batch, in order."""
    grouped = reports.group_by("batch", maintain_order=True).agg(pl.col("ts_ns").first(), "pfn", "pages")
    return [(row[1], list(zip(row[2], row[3], strict=True))) for row in grouped.rows()]


def same_batches(truth: pl.DataFrame, predicted: pl.DataFrame) -> tuple[int, int, int]:
    """(batches of the truth, of them those predicted with the same members, in the same order too)."""
    left, right = members(truth), members(predicted)
    found = {
        key: [ts_ns for ts_ns, blocks in right if tuple(sorted(blocks)) == key]
        for key in {tuple(sorted(blocks)) for _, blocks in left}
    }
    ordered = {(tuple(blocks), ts_ns) for ts_ns, blocks in right}
    same = in_order = 0
    for ts_ns, blocks in left:
        near = [at for at in found[tuple(sorted(blocks))] if abs(at - ts_ns) <= NEAR_NS]
        same += bool(near)
        in_order += any((tuple(blocks), at) in ordered for at in near)
    return len(left), same, in_order
