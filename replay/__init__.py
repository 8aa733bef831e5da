"""Offline: a trace replayed through the buddy and a reporting policy, measured and explained.

`run` replays one policy, `replay` several in one pass, `sweep` one in many settings, `validate`
compares the model with what the kernel said; `batch` replays many traces into one dataset; `page` makes an
HTML page of the answer; `generate` makes a synthetic trace of a `Recipe`.
Names are imported when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replay.api import Replay, replay, run
    from replay.batching.batch import Batch, batch
    from replay.device import Device
    from replay.engine import Options
    from replay.generating.kind import Kind
    from replay.generating.presets import preset
    from replay.generating.recipe import Recipe
    from replay.generating.writing import Generated, generate
    from replay.report.making import page
    from replay.results import Result
    from replay.sweeping.sweep import Sweep, sweep
    from replay.validation import Verdict, validate

__all__ = [
    "Batch",
    "Device",
    "Generated",
    "Kind",
    "Options",
    "Recipe",
    "Replay",
    "Result",
    "Sweep",
    "Verdict",
    "batch",
    "generate",
    "page",
    "preset",
    "replay",
    "run",
    "sweep",
    "validate",
]

_HOMES = {
    "Batch": "batching.batch",
    "Device": "device",
    "Generated": "generating.writing",
    "Kind": "generating.kind",
    "Options": "engine",
    "Recipe": "generating.recipe",
    "Replay": "api",
    "Result": "results",
    "Sweep": "sweeping.sweep",
    "Verdict": "validation",
    "batch": "batching.batch",
    "generate": "generating.writing",
    "page": "report.making",
    "preset": "generating.presets",
    "replay": "api",
    "run": "api",
    "sweep": "sweeping.sweep",
    "validate": "validation",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - each name has the type declared above
    """Import a public name from its home module when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'replay' has no attribute {name!r}")
    return getattr(import_module(f"replay.{_HOMES[name]}"), name)
