"""How an object shows itself in a notebook: a small table with a heading, as HTML and as text.

What is shown may come out of a trace, which is data from elsewhere: every text is escaped, control
characters are spelled out, and dollars are no formulas. Colours are the notebook's own, light or dark.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from itertools import chain, repeat
from typing import Any, ClassVar

from tracer.terminal import plain

# Jupyter reads text between dollars as a formula, unless an element has one of these classes.
_OUTER = '<div class="pagetide tex2jax_ignore mathjax_ignore" style="overflow-x: auto">'
_TABLE = '<table style="font-variant-numeric: tabular-nums; margin: 0.4em 0">'
_CAPTION = '<caption style="caption-side: top; text-align: left; font-weight: bold; color: inherit">'

_WHOLE = "; white-space: nowrap"  # a quantity and its unit stay in one line


@dataclass(frozen=True)
class Shown:
    """What is to be seen of an object, all of it as text.

    Attributes:
        heading: what it is.
        columns: heads of the table's columns; () when a row is a name and its value.
        rows: cells, each row as long as the others; the first one is a name.
        notes: what to know besides, a line each.
    """

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    @property
    def html(self) -> str:
        """A table that needs no style sheet."""
        side = self._side
        head = f"<thead>{_row(self.columns, 'th', side)}</thead>" if self.columns else ""
        body = "".join(_row(row, "td", side) for row in self.rows)
        notes = "".join(f'<div style="opacity: 0.75">{_safe(note)}</div>' for note in self.notes)
        table = f"{_TABLE}{_CAPTION}{_safe(self.heading)}</caption>{head}<tbody>{body}</tbody></table>"
        return f"{_OUTER}{table}{notes}</div>"

    @property
    def text(self) -> str:
        """The same in columns of characters, for what shows no HTML."""
        table = [self.columns, *self.rows] if self.columns else self.rows
        rows = [[plain(cell) for cell in row] for row in table]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(_padded(row, widths, self._side)).rstrip() for row in rows)
        return "\n".join([plain(self.heading), *lines, *map(plain, self.notes)])

    @property
    def _side(self) -> str:
        """Where cells behind the first stand: columns of quantities compare at their right ends."""
        return "right" if self.columns else "left"


class Displayed:
    """Base of what a notebook shows as a table. IPython calls the methods, by their names.

    `by`: `module:function` that makes `Shown` of such an object, imported when one is shown.
    """

    _by: ClassVar[str]

    def __init_subclass__(cls, *, by: str | None = None) -> None:
        """What is derived further shows itself alike, unless it says otherwise."""
        cls._by = by or cls._by

    def _shown(self) -> Shown:
        module, _, function = self._by.partition(":")
        shown: Shown = getattr(import_module(module), function)(self)
        return shown

    def _repr_html_(self) -> str:
        return self._shown().html

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        shown = self._shown()
        return {"text/plain": shown.text, "text/html": shown.html}

    def _repr_pretty_(self, printer: Any, cycle: object) -> None:  # noqa: ANN401 - IPython's
        """Where it is a part of something, like a list: its heading."""
        printer.text(f"<{type(self).__name__} {plain(self._shown().heading)}>")


def _safe(text: str) -> str:
    return escape(plain(text))


def _row(texts: Iterable[str], tag: str, side: str) -> str:
    sides = chain(["left"], repeat(side))
    cells = (
        f'<{tag} style="text-align: {at}{_WHOLE if at == "right" else ""}">{_safe(text)}</{tag}>'
        for text, at in zip(texts, sides, strict=False)
    )
    return f"<tr>{''.join(cells)}</tr>"


def _padded(row: Sequence[str], widths: Sequence[int], side: str) -> list[str]:
    fills = chain([str.ljust], repeat(str.rjust if side == "right" else str.ljust))
    return [fill(cell, width) for fill, cell, width in zip(fills, row, widths, strict=False)]
