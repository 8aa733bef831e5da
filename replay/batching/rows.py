"""A trace's results as rows: the same columns whatever the trace and the policies, so files fit."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from replay.costs import Costs
from replay.engine import Options
from replay.parameters import word_of
from replay.sweeping.frame import metrics
from replay.sweeping.kept import identity_of, identity_of_options, key_of

if TYPE_CHECKING:
    import polars as pl

    from replay.api import Replay
    from replay.policies.protocol import Setting
    from tracer import Guest, Trace

# What identifies a row among those of its trace, and orders them.
KEYS = ("options", "policy", "key")


@dataclass(frozen=True)
class Belongs:
    """What a trace's results belong to, besides their setting and the engine.

    Attributes:
        digest: of the trace.
        options: of how it was replayed, and of what a unit of work costs.
    """

    digest: str
    options: str

    @classmethod
    def of(cls, trace: "Trace", options: Options, costs: Costs) -> "Belongs":
        """Two of the same have the same results."""
        return cls(identity_of(trace, options, costs)["trace"]["digest"], digest_of(options, costs))


def digest_of(options: Options, costs: Costs) -> str:
    """A short name for how traces are replayed, and what a unit of work costs."""
    told = identity_of_options(options, costs)
    return blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=8).hexdigest()


def rows_of(
    done: "Replay", settings: "Sequence[Setting]", options: Options, belongs: Belongs, address: str
) -> "pl.DataFrame":
    """A row for each result: of the trace, of the setting, then every metric (docs/batch.md).

    `address`: where the trace is.
    """
    import polars as pl

    shared = _of_trace(done, options, belongs, address)
    told = [
        shared | _of_setting(setting, done.trace.manifest.guest, result.summary) | _metrics(result.summary)
        for setting, result in zip(settings, done.results, strict=True)
    ]
    text = {name for name, value in told[0].items() if isinstance(value, str)}
    flags = {name for name, value in told[0].items() if isinstance(value, bool)}
    return pl.DataFrame(
        {
            name: pl.Series([row[name] for row in told], dtype=_kind(name in text, name in flags))
            for name in told[0]
        }
    )


def _kind(text: bool, flag: bool) -> "type[pl.DataType]":
    """Numbers are all of one kind, so that a column that is null in one file fits the others."""
    import polars as pl

    return pl.String if text else pl.Boolean if flag else pl.Float64


def _of_trace(done: "Replay", options: Options, belongs: Belongs, address: str) -> dict[str, Any]:
    told, steps = done.trace_section(options), done.fidelity["steps"]
    impossible = (done.fidelity["exit_of_used"] or 0) + (done.fidelity["entry_of_free"] or 0)
    return {
        "address": address,
        "kernel_release": str(told["kernel_release"]),
        "status": told["status"],
        "whole": done.trace.complete,
        "events": told["events"],
        "duration_s": told["duration_s"],
        "lost_events": told["lost_events"],
        "impossible_share": impossible / steps if steps else None,
        "start": told["start"],
        "backing": options.backing,
        "digest": belongs.digest,
        "options": belongs.options,
    }


def _of_setting(setting: "Setting", guest: "Guest", summary: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "policy": setting.policy.name,
        "label": label_of(setting, guest),
        "setting": setting.named,
        "key": key_of(setting),
        "params": json.dumps(summary["params"]),
        "order": setting.order,
        "imposes": json.dumps(summary["imposes"]),
        "notes": json.dumps(summary["notes"]),
    }


def label_of(setting: "Setting", guest: "Guest") -> str:
    """The policy with what is not this guest's default: the same in guests whose defaults differ."""
    usual = setting.policy.settle(guest, {}).written
    told = [f"{name}={word_of(value)}" for name, value in setting.written.items() if value != usual[name]]
    return f"{setting.policy.name}:{','.join(told)}" if told else setting.policy.name


def _metrics(summary: dict[str, Any]) -> dict[str, Any]:
    """Without what each policy has of its own (`imposes`)."""
    return metrics({name: told for name, told in summary.items() if name != "imposes"})
