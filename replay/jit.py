"""How compiled functions are declared: explicit signatures, cached on disk, no Python object inside.

Numba's cache notices when a function's own file changes, but not when a function it calls in
another file does. So the cache lives in a folder named after all of this package's sources.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numpy.typing import NDArray

# Compiled functions allocate nothing: without the reference counts of `_nrt` they are 5 times faster.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}

F = TypeVar("F", bound=Callable[..., Any])

# What compiled functions work on, as a type checker sees it; their signatures say the widths.
Int = Any  # a number
Words = NDArray[Any]  # an array of numbers
Records = Any  # an array of records
Verb = Callable[..., Int]  # a policy's function

PACKAGE = Path(__file__).parent
KEPT_CACHES = 4  # of other versions: another process may be using one


def _cache_folder() -> Path | None:
    """.numba_cache/<digest of the sources> beside the package; None where that cannot be written."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    folder = PACKAGE.parent / ".numba_cache"
    mine = folder / digest.hexdigest()
    try:
        mine.mkdir(parents=True, exist_ok=True)
        mine.touch()
        for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT_CACHES]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError:
        return None
    return mine


_folder = _cache_folder()
if _folder is not None:
    numba.config.CACHE_DIR = str(_folder)  # type: ignore[attr-defined] # set by name when numba starts


def compiled(signature: Any, *, inline: bool = False) -> Callable[[F], F]:  # noqa: ANN401 - numba's types have no stubs
    """Decorate a function for compilation with this signature.

    Without an explicit signature, or with a dispatcher among the arguments, the on-disk cache
    would miss in every new process. `inline` makes LLVM always inline it: for small functions on
    the hot path, whose many array arguments would cost more than their work.
    """
    return cast(
        "Callable[[F], F]",
        numba.njit(signature, **_OPTIONS, forceinline=inline),
    )
