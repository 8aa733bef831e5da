"""What can be measured here: `python -m benchmarks` lists it, `python -m benchmarks.NAME` does it."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent


def summary(module: Path) -> str:
    """What a module says of itself first, up to a full stop or a colon."""
    text = ast.get_docstring(ast.parse(module.read_text())) or ""
    return re.split(r"[.:](?:\s|$)", " ".join(text.split()), maxsplit=1)[0]


def runnable() -> dict[str, str]:
    """The modules that measure something when they are run, and what."""
    modules = sorted(HERE.glob("[a-z]*.py"))
    return {module.stem: summary(module) for module in modules if "\nUsage: " in module.read_text()}


def main() -> None:
    """List them."""
    for name, text in runnable().items():
        print(f"{name:12}{text}")


if __name__ == "__main__":
    main()
