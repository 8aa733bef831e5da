"""What a shell may offer for a word of the command line (Tab); empty: it offers files."""

from collections.abc import Callable
from pathlib import Path


def traces_offered(incomplete: str) -> list[str]:
    """Traces in the folder that is being typed; where there is none, the shell's own files do."""
    folder, slash, name = incomplete.rpartition("/")
    before = folder + slash
    try:
        found = sorted(path.name for path in Path(before or ".").expanduser().glob("*.trace"))
    except OSError:
        return []
    return [before + each for each in found if each.startswith(name)]


def words_offered(*words: str) -> Callable[[str], list[str]]:
    """These words."""

    def words_that_begin(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return words_that_begin
