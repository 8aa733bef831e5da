"""What the commands of this half say: one JSON object on stdout, or words on stderr."""

import json
import sys
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else there.")]


def emit(value: dict[str, Any]) -> None:
    """Print one JSON object."""
    print(json.dumps(value, indent=1, allow_nan=False))


def warn(text: str) -> None:
    """Say something on stderr."""
    print(f"pagetide: {text}", file=sys.stderr)
