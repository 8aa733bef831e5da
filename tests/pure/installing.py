"""Packages as pip leaves them, in a folder of their own, and the command that finds them there."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[2]
START = "from replay.main import main; main()"


def install(folder: Path, name: str, modules: dict[str, str], entries: dict[str, str]) -> Path:
    """A distribution with these modules' texts, and its entry points by name."""
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    lines = [f"{entry} = {value}" for entry, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[pagetide.policies]", *lines, ""]))
    return folder


def python(folder: Path, code: str, *arguments: Any) -> Any:
    """A Python of its own that has what is installed in the folder."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=REPO, text=True, capture_output=True,
        env=os.environ | {"PYTHONPATH": f"{REPO}{os.pathsep}{folder}"}, stdin=subprocess.DEVNULL,
        check=False, timeout=600,
    )  # fmt: skip


def pagetide(folder: Path, *arguments: Any) -> Any:
    return python(folder, START, *arguments)
