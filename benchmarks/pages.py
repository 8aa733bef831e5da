"""Markdown pages: tables, and text that a program puts between a page's marks and finds again there."""

from collections.abc import Iterable, Sequence
from pathlib import Path


def table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    cells = [list(headings), ["---"] * len(headings), *map(list, lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"


def replace_text(path: Path, text: str) -> None:
    """Write a file aside, and put it in its place."""
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(text)
    aside.replace(path)


def quote(page: Path, name: str, text: str) -> bool:
    """Put a text between a page's lines `<!-- NAME -->` and `<!-- end of NAME -->`; False if it has none."""
    parts = _split(page, name)
    if parts is not None:
        replace_text(page, parts[0] + text + parts[2])
    return parts is not None


def quoted(page: Path, name: str) -> str | None:
    """What is between those lines; None if the page has none."""
    parts = _split(page, name)
    return None if parts is None else parts[1]


def _split(page: Path, name: str) -> tuple[str, str, str] | None:
    """What comes before the text, the text, and what comes after it, each with its mark."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = page.read_text().partition(begin)
    text, closed, after = rest.partition(end)
    return (before + begin, text, end + after) if found and closed else None
