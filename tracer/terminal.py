"""What the commands of this half say: one JSON object on stdout, or words on stderr."""

import json
import re
import sys
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else there.")]
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def emit(value: dict[str, Any]) -> None:
    """Print one JSON object."""
    print(json.dumps(value, indent=1, allow_nan=False))


def warn(text: str) -> None:
    """Say something on stderr."""
    print(f"pagetide: {plain(text)}", file=sys.stderr)


def plain(text: str) -> str:
    r"""Text of a file or a name as it may go to a terminal: control characters as \xNN, halves of a
    surrogate pair, which no terminal can show, likewise, the rest as it is.
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
