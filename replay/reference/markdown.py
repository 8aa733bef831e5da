"""The reference as a page of docs."""

import textwrap
from collections.abc import Iterable, Iterator

from replay.reference import words
from replay.reference.walk import Entry, Verb, verbs

WIDTH = 110
CODE = ("```", "pagetide ", "eval ", "_PAGETIDE")


def page() -> str:
    """`docs/commands.md`."""
    return "\n".join(line for text in _lines() for line in _wrapped(text)) + "\n"


def _wrapped(text: str) -> list[str]:
    """A paragraph or an entry of a list, in lines as wide as those of other pages; code as it is."""
    if not text or text.startswith(CODE):
        return [text]
    hanging = "  " if text.startswith("- ") else ""
    lines = textwrap.wrap(
        text, WIDTH, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace("\0", " ") for line in lines]


def _lines() -> Iterator[str]:
    yield "# Commands"
    yield ""
    yield "Made from the command line itself by `python -m replay.reference`."
    for paragraph in words.WORDS:
        yield from ("", paragraph)
    for verb in verbs():
        yield from _verb(verb)
    yield from _section("Exit codes", words.EXIT_CODES)
    yield from _section("Variables", words.VARIABLES)
    yield from ("", "## Shell completion", "", words.COMPLETION, "", "```")
    for shell, line in words.SHELLS.items():
        yield f"{line}  # {shell}"
    yield "```"


def _verb(verb: Verb) -> Iterator[str]:
    yield from ("", f"## pagetide {verb.name}", "", "```", f"pagetide {verb.name} {verb.usage}", "```")
    for paragraph in verb.paragraphs:
        yield from ("", paragraph)
    if verb.arguments or verb.options:
        yield ""
        yield from _entries((*verb.arguments, *verb.options))


def _section(title: str, entries: Iterable[Entry]) -> Iterator[str]:
    yield from ("", f"## {title}", "")
    yield from _entries(entries)


def _entries(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        term = entry.term.replace(" ", "\0")  # not where a line may end
        yield f"- `{term}`: {entry.text}"
