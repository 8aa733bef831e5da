"""What a report is made of: the answer of a replay with its frames, from memory or from a folder."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import polars as pl

from tracer import Fault

if TYPE_CHECKING:
    from replay.api import Replay
    from replay.engine import Options

ANSWER = "results.json"


@dataclass(frozen=True)
class Material:
    """The frames have `result` (an index into `answer["results"]`) and `policy` before the columns of the
    properties of `Result` that they are named after, where they depend on the policy.

    Attributes:
        answer: what `pagetide replay --json` prints.
        fragmentation: `time_s`, `zone`, `order`, `blocks`; None where it was not kept.
        address_map: None where it was not kept.
    """

    answer: dict[str, Any]
    latency: pl.DataFrame
    timeline: pl.DataFrame
    composition: pl.DataFrame
    reports: pl.DataFrame
    fragmentation: pl.DataFrame | None = None
    address_map: pl.DataFrame | None = None

    @classmethod
    def of(cls, done: "Replay", options: "Options") -> Self:
        """Of a finished replay."""
        return cls(
            done.answer(options),
            **{name: _of_all(done, name) for name in ("latency", "timeline", "composition", "reports")},
            fragmentation=done.fragmentation,
            address_map=_of_all(done, "address_map") if options.address_map else None,
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Of a folder that `pagetide replay -o` wrote.

        Raises:
            Fault: for a folder without results, or with files that cannot be read.
        """
        try:
            answer = json.loads((folder / ANSWER).read_text())
            frames = {
                name: pl.read_parquet(path) if (path := folder / f"{name}.parquet").is_file() else None
                for name in _FRAMES
            }
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            raise _unreadable(folder, str(error).splitlines()[0]) from error
        missing = [name for name in _FRAMES if frames[name] is None and name not in _OPTIONAL]
        if missing or not isinstance(answer, dict) or "results" not in answer:
            what = f"{missing[0]}.parquet is missing" if missing else f"{ANSWER} is no answer of a replay"
            raise _unreadable(folder, what)
        return cls(answer, **frames)  # type: ignore[arg-type] # those that may not be None are not

    def write(self, folder: Path) -> None:
        """`results.json`, and a Parquet file for each frame that there is.

        Raises:
            OSError: when it cannot be written.
        """
        (folder / ANSWER).write_text(json.dumps(self.answer, indent=1, allow_nan=False) + "\n")
        for name in _FRAMES:
            frame: pl.DataFrame | None = getattr(self, name)
            if frame is not None:
                frame.write_parquet(folder / f"{name}.parquet")


_FRAMES = [field.name for field in fields(Material) if field.name != "answer"]
_OPTIONAL = ("fragmentation", "address_map")


def _of_all(done: "Replay", name: str) -> pl.DataFrame:
    """A frame of all results, one below the other."""
    return pl.concat(
        getattr(result, name).select(
            pl.lit(index).alias("result"), pl.lit(result.policy).alias("policy"), pl.all()
        )
        for index, result in enumerate(done.results)
    )


def _unreadable(folder: Path, how: str) -> Fault:
    return Fault(
        f"{folder} holds no results that can be read", how, "make them: pagetide replay TRACE -o DIR"
    )
