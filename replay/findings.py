"""What was found out about a trace, kept beside the compiled code: both hold for today's sources only."""

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from replay.jit import FOLDER

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 256  # traces of which something is kept; the ones not used for longest go


class Findings:
    """Those about one trace. Nothing depends on them: what cannot be kept or read is found again."""

    def __init__(self, *key: object) -> None:
        """`key`: all that they depend on, apart from this package's sources."""
        digest = hashlib.blake2b(digest_size=16)
        for part in key:
            digest.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
        self._path = FOLDER / "found" / f"{digest.hexdigest()}.npz"

    def load(self, *names: str) -> "tuple[list[NDArray[Any]], list[str]] | None":
        """The arrays of these names and the lines that were stored, or None."""
        try:
            with self._path.open("rb") as file, np.load(file) as stored:
                arrays = [stored[name] for name in names]
                lines = json.loads(stored["lines"].tobytes())
            self._path.touch()
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None
        return arrays, lines

    def store(self, arrays: "dict[str, NDArray[Any]]", lines: list[str]) -> None:
        """Keep them, if this user may; written aside and renamed."""
        words = np.frombuffer(json.dumps(lines).encode(), np.uint8)
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)
            fd, aside = tempfile.mkstemp(dir=self._path.parent)
            try:
                with os.fdopen(fd, "wb") as file:
                    np.savez(file, lines=words, **arrays)  # type: ignore[arg-type] # no array is named allow_pickle
                Path(aside).rename(self._path)
            except OSError:
                Path(aside).unlink()
                raise
            _prune(self._path.parent)


def _prune(folder: Path) -> None:
    for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-MOST]:
        old.unlink(missing_ok=True)
