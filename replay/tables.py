"""What people see in a terminal: tables that fit 80 columns, with units."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from replay.capabilities import in_words
from replay.parameters import Parameter, word_of
from replay.policies.protocol import Policy
from tracer import plain

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


def policy_table(policies: list[Policy]) -> None:
    """Each policy with its parameters, needs and source."""
    console = new_console()
    for policy in policies:
        console.print(f"[bold]{policy.name}[/bold]: {escape(plain(policy.summary))}")
        for parameter in policy.parameters:
            console.print(f"  {parameter.name}={_default(parameter)}  {parameter.meaning}", markup=False)
        console.print(f"  needs of the trace: {in_words(policy.requires) or 'nothing'}", markup=False)
        for lacking, shows in sorted(policy.without.items()):
            console.print(f"  without {in_words([lacking])}: {plain(shows)}", markup=False)
        console.print(f"  needs of a kernel: {plain(policy.needs_of_kernel)}", markup=False)
        console.print(f"  source: {plain(policy.source)}", style="dim", markup=False)


def _default(parameter: Parameter) -> str:
    if parameter.default is None:
        return "(pageblock order)"
    return word_of(parameter.written(parameter.default))
