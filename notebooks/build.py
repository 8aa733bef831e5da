"""Execute the notebooks of this folder from scratch and keep what they print.

Usage: python -m notebooks.build [NAME…]

Their cells are written in the `.ipynb` files themselves, with the pictures beside them, since that is
where people read them and where Jupyter edits them. Needs the extra `notebook`.
"""

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

HERE = Path(__file__).parent
MOST_BYTES = 600_000  # of a file, so that it is rendered where it is looked at
CELL_TIMEOUT_S = 600


def all_notebooks() -> list[Path]:
    """In the order in which they are meant to be read."""
    return sorted(HERE.glob("*.ipynb"))


def executed(path: Path) -> NotebookNode:
    """The notebook with what each cell says when all are run in a new kernel, in this folder.

    Raises:
        CellExecutionError: when a cell fails.
    """
    notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(HERE)}},
    )
    paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    client.execute(env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))})
    # Of the interpreter that happened to run it, nothing is kept.
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def rewrite(path: Path) -> None:
    """Execute a notebook and put it in its place, as a whole."""
    begin = time.perf_counter()
    text = nbformat.writes(executed(path)) + "\n"  # type: ignore[no-untyped-call]
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(text)
    aside.replace(path)
    size = len(text.encode())
    print(f"wrote {path.name}: {size:,} bytes, {time.perf_counter() - begin:.1f} s", flush=True)
    if size > MOST_BYTES:
        print(f"{path.name} is larger than {MOST_BYTES:,} bytes: draw less in it", file=sys.stderr)


def main(names: list[str]) -> int:
    """Rewrite the notebooks of these names, or all; 1 if a cell of one fails."""
    for path in [HERE / name for name in names] or all_notebooks():
        try:
            rewrite(path)
        except CellExecutionError as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
