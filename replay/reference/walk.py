"""All verbs with their arguments and options, read from the command line as it is built."""

import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any, get_args, get_type_hints

import typer.main

from replay.main import VERBS, build_app

HELP = ("--help", "-h")


@dataclass(frozen=True)
class Entry:
    """An argument or an option.

    Attributes:
        term: as it is written: `--policy NAME[:key=value,...]`.
        text: what it means, a sentence or more; its default if it has one.
    """

    term: str
    text: str


@dataclass(frozen=True)
class Verb:
    """One verb of the command.

    Attributes:
        name: as it is written.
        usage: the rest of its line: `[OPTIONS] TRACE`.
        paragraphs: what it does.
    """

    name: str
    usage: str
    paragraphs: tuple[str, ...]
    arguments: tuple[Entry, ...]
    options: tuple[Entry, ...]


def verbs() -> list[Verb]:
    """Every verb of the command, in its order."""
    return [_verb(name) for name in VERBS]


def _verb(name: str) -> Verb:
    group: Any = typer.main.get_command(build_app(name))
    command = group.commands[name]
    kinds: dict[str, list[Entry]] = {"argument": [], "option": []}
    module, function, _ = VERBS[name]
    types = get_type_hints(getattr(import_module(module), function))
    for parameter in command.params:
        if not set(HELP) & set(parameter.opts):
            kinds[parameter.param_type_name].append(_entry(parameter, types[parameter.name]))
    arguments, options = tuple(kinds["argument"]), tuple(kinds["option"])
    usage = " ".join(["[OPTIONS]", *(entry.term for entry in arguments)])
    paragraphs = tuple(_joined(part) for part in re.split(r"\n\s*\n", command.help.strip()))
    return Verb(name, usage, paragraphs, arguments, options)


def _entry(parameter: Any, kind: Any) -> Entry:  # noqa: ANN401 - Typer's, and any annotation
    text = _joined(parameter.help or "")
    if parameter.param_type_name == "argument":
        return Entry(parameter.metavar, text)
    names = ", ".join(sorted((*parameter.opts, *parameter.secondary_opts), key=len))
    if parameter.is_flag:
        return Entry(names, text)
    word = parameter.metavar or ("NUMBER" if {int, float} & {kind, *get_args(kind)} else "TEXT")
    if parameter.required:
        return Entry(f"{names} {word}", f"{text} Required.")
    told = parameter.default in (None, "") or "default:" in text.lower()
    return Entry(f"{names} {word}", text if told else f"{text} Default: {parameter.default}.")


def _joined(text: str) -> str:
    return " ".join(text.split())
