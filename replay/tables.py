"""What people see in a terminal: tables that fit 80 columns, with units."""

import textwrap

from rich.console import Console
from rich.table import Table
from rich.text import Text

from replay.capabilities import in_words
from replay.parameters import Parameter, word_of
from replay.policies.protocol import Policy
from tracer import human_bytes, plain

WIDTH = 80


def new_console() -> Console:
    """stdout; 80 columns where it is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def new_table(*columns: str) -> Table:
    """A table without lines: the first column is text, the others numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def print_hanging(console: Console, text: str, depth: int = 0, *, style: str = "", bold: int = 0) -> None:
    """A line at `depth` levels, its continuations a level deeper; the first `bold` characters stand out."""
    begin, further = ("  " * levels for levels in (depth, depth + 2))
    filled = textwrap.fill(
        text,
        console.width,
        initial_indent=begin,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )
    line = Text(filled, style)
    line.stylize("bold", 0, bold)
    console.print(line, soft_wrap=True)


def size(size_bytes: float | None) -> str:
    """Bytes with their unit in a cell."""
    return "-" if size_bytes is None else tight(human_bytes(size_bytes))


def shorter(number: float) -> str:
    """A number in at most six characters."""
    suffixes = iter(("", "k", "M", "G", "T"))
    suffix = next(suffixes)
    while abs(number) >= 10_000:
        number, suffix = number / 1000, next(suffixes)
    whole = isinstance(number, int) or abs(number) >= 100 or number == int(number)
    return f"{number:,.0f}{suffix}" if whole else f"{number:.2g}{suffix}"


def tight(text: str) -> str:
    """A quantity without the space before its unit."""
    return text.replace(" ", "")


def policy_table(policies: list[Policy]) -> None:
    """Each policy with its parameters, needs and source."""
    console = new_console()
    for policy in policies:
        print_hanging(console, f"{policy.name}: {plain(policy.summary)}", bold=len(policy.name))
        for parameter in policy.parameters:
            print_hanging(console, f"{parameter.name}={_default(parameter)}  {_meaning(parameter)}", 1)
        print_hanging(console, f"needs of the trace: {in_words(policy.requires) or 'nothing'}", 1)
        for lacking, shows in sorted(policy.without.items()):
            print_hanging(console, f"without {in_words([lacking])}: {plain(shows)}", 1)
        print_hanging(console, f"needs of a kernel: {plain(policy.needs_of_kernel)}", 1)
        print_hanging(console, f"source: {plain(policy.source)}", 1, style="dim")


def _default(parameter: Parameter) -> str:
    if parameter.default is None:
        return "(the guest's)"
    return word_of(parameter.written(parameter.default))


def _meaning(parameter: Parameter) -> str:
    """What it means, and the words that it takes."""
    words = f" ({', '.join(parameter.kind)})" if isinstance(parameter.kind, tuple) else ""
    return parameter.meaning + words
