"""Wildcards: `*`, `?`, `[…]` within a part of a name, `**` for any folders. As shells have them: a name that
begins with a dot matches only where a dot is asked for.
"""

import glob
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

_MAGIC = re.compile(r"[*?\[]")
_ANY = "**"


def has_wildcards(name: str) -> bool:
    """Does it name more than itself?"""
    return _MAGIC.search(name) is not None


def local_matches(pattern: Path) -> list[Path]:
    """Paths that match, sorted; of a path that is there, or has no wildcard, itself."""
    if not has_wildcards(str(pattern)) or pattern.exists():
        return [pattern]
    return sorted(map(Path, glob.glob(str(pattern), recursive=True)))  # noqa: PTH207 - `**` as shells have it


def matches(pattern: Sequence[str], below: Callable[[str, bool], Sequence[str]]) -> list[str]:
    """Keys that match a pattern, given as its parts, sorted.

    `below(prefix, deep)`: the keys of what is in a folder, or with `deep` also in its folders; as few of
    them are asked for as the pattern allows.
    """
    fixed = next(at for at, part in enumerate(pattern) if has_wildcards(part))
    folders = ["/".join(pattern[:fixed])]
    for at in range(fixed, len(pattern)):
        if pattern[at] == _ANY:
            return sorted({key for folder in folders for key in _deep(folder, pattern[at:], below)})
        found = [key for folder in folders for key in below(folder, False)]
        folders = [key for key in found if _fits(key.rpartition("/")[2], pattern[at])]
    return sorted(folders)


def _deep(folder: str, pattern: Sequence[str], below: Callable[[str, bool], Sequence[str]]) -> list[str]:
    """Keys below a folder, however deep, the rest of which match; stores list no folders of their own."""
    skip = len(folder) + 1 if folder else 0
    keys = {tuple(key[skip:].split("/")) for key in below(folder, True)}
    keys |= {key[:at] for key in keys for at in range(1, len(key))}
    prefix = f"{folder}/" if folder else ""
    return [prefix + "/".join(key) for key in keys if _match(key, pattern)]


def _match(name: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not name
    if pattern[0] != _ANY:
        return bool(name) and _fits(name[0], pattern[0]) and _match(name[1:], pattern[1:])
    if _match(name, pattern[1:]):
        return True
    return bool(name) and _fits(name[0], "*") and _match(name[1:], pattern)


def _fits(name: str, part: str) -> bool:
    return fnmatchcase(name, part) and (not name.startswith(".") or part.startswith("."))
