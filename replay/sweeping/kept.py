"""Finished settings of a sweep on disk, so that an interrupted one goes on where it was.

`DIR/identity.json` says what all results in it belong to: the trace, the options, the engine.
`DIR/passes/N.json` is what one pass over the trace came to, written when it was over. Each file is written
aside and renamed, so whatever is there is whole. Settings are looked up by what they are, not by the grid
that they were part of.
"""

import fcntl
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from replay.costs import Costs
from replay.engine import Options
from replay.jit import digest_of_sources
from replay.output import aside, check_parent
from replay.policies.protocol import Setting
from replay.state import NEVER
from tracer import Fault, Trace, output_fault, put_in_place, remove_tree

FORMAT = 1
IDENTITY, PASSES = "identity.json", "passes"
ANSWER, TABLE = "sweep.json", "sweep.parquet"


@dataclass(frozen=True)
class Pass:
    """What one pass over the trace came to.

    Attributes:
        events: how many of the trace it could read.
        warnings: what the reader said of the trace.
        trace, fidelity: as `pagetide replay --json` has them.
        ceilings: by reporting order, the byte seconds that are possible at most.
        summaries: by `key_of` a setting, its metrics (`Result.summary`).
    """

    events: int
    warnings: list[str]
    trace: dict[str, Any]
    fidelity: dict[str, Any]
    ceilings: dict[int, float]
    summaries: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Pass":
        """What `asdict` made, after JSON."""
        ceilings = {int(order): most for order, most in told["ceilings"].items()}
        return cls(**{**told, "ceilings": ceilings})


def key_of(setting: Setting) -> str:
    """A setting, and of a policy that is not Pagetide's own the sources that it comes from."""
    build = setting.policy.build
    root = str(getattr(getattr(build, "func", build), "__module__", None)).partition(".")[0]
    if root == "replay":  # the engine's identity has those
        return setting.named
    file = getattr(sys.modules.get(root), "__file__", None)
    return f"{setting.named} of {_sources(Path(file)) if file else root}"


def _sources(file: Path) -> str:
    """Of a module's file, or of all those of its package."""
    digest = blake2b(digest_size=8)
    for path in sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def identity_of(trace: Trace, options: Options, costs: Costs) -> dict[str, Any]:
    """What results depend on besides their setting: the same identity, the same results."""
    content = json.dumps([asdict(trace.manifest), [asdict(each) for each in trace.segments]], sort_keys=True)
    first_ns, last_ns = trace.span_ns
    return {
        "format": FORMAT,
        "engine": digest_of_sources(),
        "trace": {
            "digest": blake2b(content.encode(), digest_size=16).hexdigest(),
            "events": trace.rows,
            "duration_s": (last_ns - first_ns) / 1e9,
        },
        "options": identity_of_options(options, costs),
    }


def identity_of_options(options: Options, costs: Costs) -> dict[str, Any]:
    """What results depend on besides their setting and the trace."""
    told = asdict(replace(options, logging=False, fragmentation=False, address_map=False))
    spans = [[a, None if b == NEVER else b] for a, b in options.device.registered_ns]
    return {
        **{name: told[name] for name in ("start", "backing", "inhibit")},
        "device": {**told["device"], "registered_ns": spans},
        "costs": asdict(costs),
    }


def differences(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """How two identities differ, a line each."""
    lines = []
    if (kept.get("format"), kept.get("engine")) != (now["format"], now["engine"]):
        lines.append("its results are of another version of pagetide")
    if kept.get("trace") != now["trace"]:
        lines.append(
            f"its trace is another one: {_trace_line(kept.get('trace'))}; {_trace_line(now['trace'])} here"
        )
    there, here = _leaves(kept.get("options")), _leaves(now["options"])
    changed = [name for name in sorted(there.keys() | here.keys()) if there.get(name) != here.get(name)]
    return lines + [f"{name} is {there.get(name)} there, {here.get(name)} here" for name in changed]


def _trace_line(told: Any) -> str:  # noqa: ANN401 - what a file says
    told = told if isinstance(told, dict) else {}
    return f"{told.get('events')} events over {told.get('duration_s')} s"


def _leaves(told: Any, name: str = "") -> dict[str, Any]:  # noqa: ANN401 - likewise
    if not isinstance(told, Mapping):
        return {name: told}
    return {
        leaf: value
        for key, inner in told.items()
        for leaf, value in _leaves(inner, f"{name}.{key}" if name else str(key)).items()
    }


class Kept:
    """A sweep's folder, while it is held: one sweep at a time writes to it.

    Attributes:
        passes: all that is in it, oldest first.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.passes = path, [_pass(file) for file in _files(path)]

    def add(self, done: Pass) -> None:
        """Keep what a pass came to.

        Raises:
            Fault: when it cannot be written.
        """
        files = _files(self.path)
        number = int(files[-1].stem) + 1 if files else 0
        write_json(self.path / PASSES / f"{number:05}.json", asdict(done))
        self.passes.append(done)


@contextmanager
def kept_in(path: Path, identity: Mapping[str, Any], *, force: bool) -> Iterator[Kept]:
    """The folder of a sweep, made if there is none. `force`: replace one of another identity.

    Raises:
        Fault: when it is no such folder, belongs to something else, is in use, or cannot be written.
    """
    check_parent(path)
    try:
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            _make(path, identity)
        with _held(path):
            lines = differences(_identity(path), identity)
            if lines and not force:
                raise Fault(
                    f"{path} holds the sweep of something else",
                    "; ".join(lines),
                    "name another folder, or add --force to replace it",
                )
            if not lines:
                yield Kept(path)
                return
        _make(path, identity)
        with _held(path):
            yield Kept(path)
    except OSError as error:
        raise output_fault(path, error) from error


def write_json(path: Path, told: Mapping[str, Any]) -> None:
    """A JSON file, as a whole."""
    with aside(path) as temporary:
        temporary.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")


def _make(path: Path, identity: Mapping[str, Any]) -> None:
    """A folder without results, in the place of what was there."""
    path = path.resolve()
    new = path.with_name(f".{path.name}.tmp")
    parent = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        remove_tree(parent, new.name)
        (new / PASSES).mkdir(parents=True)
        write_json(new / IDENTITY, identity)
        put_in_place(parent, new.name, path.name)
    finally:
        os.close(parent)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Keep other sweeps out of a folder."""
    if not path.is_dir():
        raise _no_sweep(path)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        how = "another process holds its lock"
        raise Fault(
            f"{path} is being written by another sweep", how, "wait for it, or name another"
        ) from error
    finally:
        os.close(fd)


def _identity(path: Path) -> dict[str, Any]:
    """What a folder's results belong to."""
    if not (path / IDENTITY).is_file() or not (path / PASSES).is_dir():
        raise _no_sweep(path)
    return _read(path / IDENTITY)


def _no_sweep(path: Path) -> Fault:
    return Fault(
        f"{path} exists already, and holds no sweep",
        f"it has no {IDENTITY}; nothing else is ever replaced",
        "name another folder",
    )


def _files(path: Path) -> list[Path]:
    """Of the passes, oldest first."""
    return sorted(file for file in (path / PASSES).glob("*.json") if file.stem.isdigit())


def _pass(file: Path) -> Pass:
    try:
        return Pass.of(_read(file))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _damaged(file, f"{type(error).__name__}: {error}") from error


def _read(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from error
    if not isinstance(told, dict):
        raise _damaged(file, "it is no JSON object")
    return told


def _damaged(file: Path, how: str) -> Fault:
    fix = (
        "remove the file: its settings are replayed again"
        if file.parent.name == PASSES
        else "remove the folder"
    )
    return Fault(f"{file} is damaged", how, fix)
