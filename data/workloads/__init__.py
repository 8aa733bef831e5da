"""What was recorded: one module for each trace, named as the trace is.

A module's docstring says in its first line what runs, and below that why it is typical. It has

- `DEBIAN`, `PYPI`: packages that it needs, installed by `data.record`;
- `prepare(folder)`: what is done before the recording begins, for instance to make inputs;
- `run(folder)`: what is recorded: one to four minutes, in which memory is taken and given back;
- `LAYER`, where it is not the buddy layer alone;
- or `record(folder)` instead of `run`: a recording of another guest than this machine, into the folder.

What a module imports at its top is there in any Python: `data.record` reads it with another one than runs it.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_MODULES = (each.name for each in pkgutil.iter_modules(__path__))
NAMES = tuple(sorted(name.replace("_", "-") for name in _MODULES if name != "__main__"))


@dataclass(frozen=True)
class Workload:
    """A program to be recorded."""

    name: str
    what: str
    why: str
    debian: tuple[str, ...]
    pypi: tuple[str, ...]
    layer: str
    prepare: Callable[[Path], None]
    run: Callable[[Path], None]
    record: Callable[[Path], None] | None  # None: this machine is recorded while it runs


def nothing(folder: Path) -> None:
    """What a workload does that needs no preparation."""


def load(name: str) -> Workload:
    """The workload of a name out of NAMES."""
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    what, _, why = (module.__doc__ or "").partition("\n\n")
    return Workload(
        name,
        what.strip().removesuffix("."),
        why.strip(),
        getattr(module, "DEBIAN", ()),
        getattr(module, "PYPI", ()),
        getattr(module, "LAYER", "buddy"),
        getattr(module, "prepare", nothing),
        getattr(module, "run", nothing),
        getattr(module, "record", None),
    )
