"""The reference as a man page."""

from collections.abc import Iterable, Iterator

from replay.reference import words
from replay.reference.walk import Entry, Verb, verbs
from tracer import __version__


def page() -> str:
    """`pagetide.1`."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f'.TH PAGETIDE 1 "" "pagetide {__version__}" "User Commands"'
    yield from (".SH NAME", f"pagetide \\- {_plain(words.SUMMARY)}")
    yield from (".SH SYNOPSIS", ".B pagetide", "VERB [OPTIONS] ...", ".SH DESCRIPTION")
    for index, paragraph in enumerate(words.WORDS):
        yield from ([".PP"] if index else [])
        yield _plain(paragraph)
    yield ".SH VERBS"
    for verb in verbs():
        yield from _verb(verb)
    yield ".SH EXIT STATUS"
    yield from _entries(words.EXIT_CODES)
    yield ".SH ENVIRONMENT"
    yield from _entries(words.VARIABLES)
    yield from (".SH SHELL COMPLETION", _plain(words.COMPLETION))
    for shell, line in words.SHELLS.items():
        yield from (".TP", f".B {shell}", _plain(line))


def _verb(verb: Verb) -> Iterator[str]:
    yield f'.SS "pagetide {_plain(verb.name)} {_plain(verb.usage)}"'
    for index, paragraph in enumerate(verb.paragraphs):
        yield from ([".PP"] if index else [])
        yield _plain(paragraph)
    yield from _entries((*verb.arguments, *verb.options))


def _entries(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        yield from (".TP", f".B {_plain(entry.term)}", _plain(entry.text))


def _plain(text: str) -> str:
    """Text that roff prints as it is, on a line of its own: no escapes, requests, typeset hyphens or
    quotes.
    """
    for character, written in (("\\", "\\e"), ("-", "\\-"), ('"', "\\(dq"), ("'", "\\(aq"), ("`", "\\(ga")):
        text = text.replace(character, written)
    return f"\\&{text}" if text.startswith(".") else text
