"""How compiled functions are declared: explicit signatures, cached on disk, no Python object inside.

Numba's cache notices when a function's own file changes, but not when a function it calls in
another file does. So the cache lives in a folder named after all of this package's sources.
"""

import atexit
import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numba
from numba.core import typeinfer
from numba.core.registry import CPUDispatcher
from numpy.typing import NDArray

# Compiled functions allocate nothing: without the reference counts of `_nrt` they are 5 times faster.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}

F = TypeVar("F", bound=Callable[..., Any])

# What compiled functions work on, as a type checker sees it; their signatures say the widths.
Int = Any  # a number
Words = NDArray[Any]  # an array of numbers
Records = Any  # an array of records

PACKAGE = Path(__file__).parent
KEPT_CACHES = 4  # of other versions: another process may be using one


def digest_of_sources() -> str:
    """Of all of this package's sources."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _homes() -> Iterator[Path]:
    """Where caches may live, best first: the checkout, the user's cache, for this process only."""
    if (PACKAGE.parent / "pyproject.toml").is_file():
        yield PACKAGE.parent / ".numba_cache"
    with contextlib.suppress(RuntimeError):  # a user without a home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pagetide"
    temporary = tempfile.mkdtemp(prefix="pagetide-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    yield Path(temporary)


def cache_folder() -> Path:
    """A folder for today's sources that this user can write; caches of older sources are pruned."""
    digest = digest_of_sources()
    for home in _homes():
        mine = home / digest
        try:
            mine.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=mine):
                pass
            if sys.stderr.isatty() and not any(mine.iterdir()):
                print("pagetide: compiling the engine, once; this takes a minute or two", file=sys.stderr)
            mine.touch()
        except OSError:
            continue
        for old in sorted(home.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT_CACHES]:
            shutil.rmtree(old, ignore_errors=True)
        return mine
    raise AssertionError("a temporary folder is always writable")


FOLDER = cache_folder()
numba.config.CACHE_DIR = str(FOLDER)  # type: ignore[attr-defined] # set by name when numba starts


class _OneProcess:
    """Of those that use this cache: the others wait, and then find in it what they want.

    May be entered again by who is in it; which thread that is, `_SETTLING` sees to.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth == 1:
            with contextlib.suppress(OSError):  # a file system without locks: more than one compiles
                self._file = (FOLDER / "lock").open("wb")
                fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0 and self._file:
            self._file.close()


_SETTLING, _COMPILING = threading.RLock(), _OneProcess()


class _AtFirstUse(CPUDispatcher):
    """A function of declared signatures, compiled, or loaded from the cache, when it is first used.

    numba does so at once. But most functions are only called by compiled ones, whose code in the cache has
    them in it: loading them all would be most of a short replay's time.
    """

    declared: Sequence[Any] = ()

    def _settle(self) -> None:
        with _SETTLING:  # another thread may want it, too
            if self.declared:
                signatures, self.declared = self.declared, ()
                with _COMPILING, typeinfer.register_dispatcher(self):
                    for signature in signatures:
                        self.compile(signature)
                self.disable_compile()

    def get_call_template(self, args: Any, kws: Any) -> Any:  # noqa: ANN401
        """Another function is being compiled, and calls this one."""
        self._settle()
        return super().get_call_template(args, kws)

    def get_function_type(self) -> Any:  # noqa: ANN401
        """It is handed to a compiled function as a value."""
        self._settle()
        return super().get_function_type()

    @property
    def nopython_signatures(self) -> Any:  # noqa: ANN401
        """Somebody asks what it takes."""
        self._settle()
        return super().nopython_signatures

    def _compile_for_args(self, *args: Any, **kws: Any) -> Any:  # noqa: ANN401
        """Python calls it, and nothing was compiled yet, or nothing for such arguments."""
        self._settle()
        given = [self.typeof_pyval(each) for each in args]
        for wanted, overload in self.overloads.items():
            if len(given) == len(wanted) and not kws and all(map(self._converts, given, wanted)):
                return overload.entry_point  # type: ignore[attr-defined] # it has one
        return super()._compile_for_args(*args, **kws)  # type: ignore[misc] # it has one

    def _converts(self, given: Any, wanted: Any) -> bool:  # noqa: ANN401
        return self.typingctx.can_convert(given, wanted) is not None


def compiled(signature: Any, *, inline: bool = False) -> Callable[[F], F]:  # noqa: ANN401 - numba's types have no stubs
    """Decorate a function for compilation with this signature, or these.

    Without an explicit signature, or with a dispatcher among the arguments, the on-disk cache
    would miss in every new process. `inline` makes LLVM always inline it: for small functions on
    the hot path, to which handing over their arguments would cost more than their work.
    """
    options = _OPTIONS | {"forceinline": inline}

    def declare(function: F) -> F:
        dispatcher = numba.njit(**options)(function)
        dispatcher.__class__ = _AtFirstUse
        dispatcher.declared = signature if isinstance(signature, list) else [signature]
        return cast("F", dispatcher)

    return declare
