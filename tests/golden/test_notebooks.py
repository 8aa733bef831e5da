"""The notebooks: executed from scratch, keeping what the code says, using nothing but the public API."""

import ast
import base64
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest

import replay
import tracer
from notebooks.build import HERE, MOST_BYTES, all_notebooks, executed

RECORDING = "01-record-and-look.ipynb"  # another guest each time
OWN_POLICY = "04-write-your-own-policy.ipynb"
PUBLIC = {"replay": set(replay.__all__), "tracer": set(tracer.__all__)}
SHOWN = {"image/png", "text/html", "text/markdown", "text/plain"}  # what is rendered wherever they are read

each_notebook = pytest.mark.parametrize("path", all_notebooks(), ids=lambda path: path.stem)


@cache
def kept(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


@cache
def fresh(path: Path) -> Any:
    return executed(path)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook: Any) -> list[str]:
    """What cells say with computed numbers in it."""
    return [
        output.data["text/markdown"]
        for cell in code_cells(notebook)
        for output in cell.outputs
        if "text/markdown" in output.get("data", {})
    ]


def kinds(notebook: Any) -> list[list[list[str]]]:
    return [[sorted(output.get("data", {})) for output in cell.outputs] for cell in code_cells(notebook)]


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of each name that is used of this project's packages."""
    for cell in code_cells(kept(path)):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.ImportFrom):
                yield from ((str(node.module), alias.name) for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)
            elif isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_"), f"{node.attr} is private"
                if isinstance(node.value, ast.Name) and node.value.id in PUBLIC:
                    yield node.value.id, node.attr


def test_there_are_four() -> None:
    assert [path.name[:2] for path in all_notebooks()] == ["01", "02", "03", "04"]


@each_notebook
def test_it_runs_from_scratch_without_a_word_on_stderr(path: Path) -> None:
    before = {file: file.read_bytes() for file in HERE.iterdir() if file.is_file()}
    for cell in code_cells(fresh(path)):
        assert [output for output in cell.outputs if output.output_type in ("stream", "error")] == []
    assert {file: file.read_bytes() for file in HERE.iterdir() if file.is_file()} == before


@each_notebook
def test_what_is_kept_is_what_the_code_says_today(path: Path) -> None:
    assert kinds(kept(path)) == kinds(fresh(path))
    if path.name != RECORDING:
        assert prose(kept(path)) == prose(fresh(path)), "make notebooks"


def test_the_first_one_records_where_that_is_allowed() -> None:
    said = prose(fresh(HERE / RECORDING))[0]
    assert said.startswith(("**This guest was recorded.**", "**This machine was not recorded"))
    if "live" in os.environ.get("PAGETIDE_REQUIRE", "").split(","):
        assert said.startswith("**This guest was recorded.**"), said


@each_notebook
def test_it_is_kept_executed_in_order_and_small_enough_to_be_rendered(path: Path) -> None:
    cells = code_cells(kept(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert path.stat().st_size <= MOST_BYTES
    assert {kind for cell in kinds(kept(path)) for output in cell for kind in output} <= SHOWN


@each_notebook
def test_each_picture_is_drawn_and_said_what_to_see_in(path: Path) -> None:
    outputs = [output.get("data", {}) for cell in code_cells(kept(path)) for output in cell.outputs]
    pictures = [place for place, data in enumerate(outputs) if "image/png" in data]
    assert len(pictures) >= 2
    for place in pictures:
        assert base64.b64decode(outputs[place]["image/png"]).startswith(b"\x89PNG")
        assert len(outputs[place]["image/png"]) > 20_000, "nothing is drawn"
        assert outputs[place + 1].get("text/markdown", "").startswith("*What to see:*")


@each_notebook
def test_it_uses_the_public_api_only(path: Path) -> None:
    documented = (HERE.parent / "docs/policies.md").read_text()
    for module, name in imported(path):
        package = module.partition(".")[0]
        if package not in PUBLIC or not name:
            assert module in PUBLIC or package not in {*PUBLIC, "data", "benchmarks", "tests"}
        elif module in PUBLIC:
            assert name in PUBLIC[module], f"{module}.{name} is not public"
        else:
            assert path.name == OWN_POLICY
            assert module in documented
            assert re.search(rf"\b{name}\b", documented), f"docs/policies.md does not tell of {name}"


@each_notebook
def test_what_it_links_to_is_there(path: Path) -> None:
    links = [
        target
        for cell in kept(path).cells
        if cell.cell_type == "markdown"
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", cell.source)
    ]
    assert links
    assert [link for link in links if "://" not in link and not (HERE / link).exists()] == []


def test_the_index_names_them_all() -> None:
    index = (HERE / "README.md").read_text()
    assert re.findall(r"\]\((\S+\.ipynb)\)", index) == [path.name for path in all_notebooks()]
