"""A sweep's tidy table: a row for each setting, a column for each parameter and each metric."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from replay.exact import SECOND_NS
from replay.parameters import Parameter
from replay.results import INCIDENCE_AT_S
from replay.sweeping.grid import Grid
from tracer import write_duration

if TYPE_CHECKING:
    import polars as pl

# Parts of a summary that are no metrics, or told otherwise.
_NOT_FLAT = ("policy", "params", "incidence", "notes", "page_size")
# Where the unit of a part's numbers is in the name of the part.
_UNITS = {
    "latency_s": ("latency", "_s"),
    "cost_s": ("cost", "_s"),
    "unreclaimed": ("unreclaimed", "_byte_seconds"),
}


def frame_of(grid: Grid, summaries: Sequence[dict[str, Any]], pareto: Sequence[bool]) -> "pl.DataFrame":
    """See `Sweep.frame`."""
    import polars as pl

    flat = [metrics(summary) for summary in summaries]
    names = list(dict.fromkeys(name for row in flat for name in row))
    columns = {
        "policy": pl.Series([setting.policy.name for setting in grid.settings], dtype=pl.String),
        "setting": pl.Series([setting.named for setting in grid.settings], dtype=pl.String),
    }
    taken = {*columns, "pareto", *names}
    for parameter in grid.policy.parameters:
        values = [setting.params[parameter.name] for setting in grid.settings]
        name = column_of(parameter)
        columns[f"param_{name}" if name in taken else name] = _parameter(parameter, values)
    columns["pareto"] = pl.Series(list(pareto), dtype=pl.Boolean)
    for name in names:
        columns[name] = metric_column([row.get(name) for row in flat])
    return pl.DataFrame(columns)


def column_of(parameter: Parameter) -> str:
    """The name of a parameter's column, with its unit."""
    return f"{parameter.name}_s" if parameter.kind == "duration" else parameter.name


def metrics(summary: dict[str, Any]) -> dict[str, Any]:
    """A setting's metrics by column: numbers, or None where there is nothing to say."""
    return {
        "page_size_bytes": summary["page_size"],
        **dict(_flat(summary)),
        **dict(_incidence(summary["incidence"])),
    }


def metric_column(values: list[Any]) -> "pl.Series":
    """A metric's values: whole numbers as such. Of a column without any value nothing is known but that it
    is a number.
    """
    import polars as pl

    whole = all(isinstance(value, int) for value in values if value is not None)
    known = any(value is not None for value in values)
    return pl.Series(values, dtype=pl.Int64 if whole and known else pl.Float64)


def _flat(summary: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, told in summary.items():
        if name in _NOT_FLAT:
            continue
        if not isinstance(told, dict):
            yield name, told
            continue
        part, unit = _UNITS.get(name, (name, ""))
        for inner, value in told.items():
            yield (f"{part}_{inner}" if inner == "samples" else f"{part}_{inner}{unit}"), value


def _incidence(told: dict[str, list[float]] | None) -> Iterator[tuple[str, float | None]]:
    """What became of reportable bytes within so long; null for times that the trace does not last."""
    for what in ("reported", "missed", "waiting"):
        known = dict(zip(told["within_s"], told[what], strict=True)) if told else {}
        for at_s in INCIDENCE_AT_S:
            yield f"{what}_within_{write_duration(round(at_s * SECOND_NS))}_share", known.get(at_s)


def _parameter(parameter: Parameter, values: list[Any]) -> "pl.Series":
    import polars as pl

    if parameter.kind == "duration":
        return pl.Series([value / SECOND_NS for value in values], dtype=pl.Float64)
    kinds: dict[Any, Any] = {"int": pl.Int64, "bool": pl.Boolean}
    if parameter.kind in kinds:
        return pl.Series(values, dtype=kinds[parameter.kind])
    return pl.Series([str(parameter.written(value)) for value in values], dtype=pl.String)
