"""What the pages say can be done can be done: links lead somewhere, commands and options exist."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from replay.main import VERBS, build_app

REPO = Path(__file__).parents[2]
DOCS = sorted((REPO / "docs").glob("*.md"))
PAGES = [REPO / "README.md", *DOCS, REPO / "data/README.md", REPO / "tracer/FORMAT.md"]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
OURS = re.compile(r"\b(?:tracer|replay|tests|benchmarks|data|docs)/[\w/.-]+\.(?:py|md|service)\b")
# Options in the pages that are other programs'.
OTHERS = {"--show-lost-events", "--balloon", "--balloon-page-reporting", "--strict", "--trace"}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text())


@cache
def anchors(page: Path) -> set[str]:
    """What can be linked to in a page, as GitHub names it: the second of a name has a number."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        count = found[name] = found.get(name, -1) + 1
        names.add(f"{name}-{count}" if count else name)
    return names


def dead_links(page: Path) -> list[str]:
    """Links to a file or a heading that is not there."""
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(target)
    return dead


def code(page: Path) -> Iterator[str]:
    """Each command line and each span of code of a page."""
    for _, block in FENCE.findall(page.read_text()):
        for line in re.sub(r"\\\n *", " ", block).splitlines():
            yield re.sub(r"^[$ ]+", "", line)
    yield from (" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(page)))


def words_of(line: str) -> list[str]:
    """A command line's words up to its comment, and up to the command that it runs itself."""
    try:
        words = shlex.split(re.sub(r"…|(?<=\S)\.\.\.", "", line), comments=True)
    except ValueError:  # a quote that is not closed: prose
        return []
    for end in ("--", "|", "&&", ">", ";"):
        words = words[: words.index(end)] if end in words else words
    return words


def flags(words: list[str]) -> list[str]:
    """The options among them, without what belongs to their spelling in a page."""
    return [word.split("=")[0].strip("[],;)") for word in words if re.match(r"\[?--?[a-zA-Z]", word)]


@cache
def options() -> dict[str, set[str]]:
    """By verb, the options it takes."""

    def taken(verb: str) -> set[str]:
        group: Any = typer.main.get_command(build_app(verb))
        params = group.commands[verb].params
        return {"-h", "--help"} | {name for each in params for name in (*each.opts, *each.secondary_opts)}

    return {verb: taken(verb) for verb in VERBS}


def wrong_commands(page: Path) -> list[str]:
    """Commands of ours with a verb or an option that there is not."""
    wrong = []
    for words in map(words_of, code(page)):
        if words[:1] != ["pagetide"] or len(words) < 2:
            continue
        for verb in re.findall(r"^[a-z]+$", words[1]):
            if verb not in VERBS or set(flags(words[2:])) - options()[verb]:
                wrong.append(" ".join(words))
    return wrong


def unknown_options(page: Path) -> list[str]:
    """Options that stand alone, and are those of no command of ours and of no module that the page runs."""
    known = set().union(*options().values(), OTHERS, {"--version"})
    alone = {flag for words in map(words_of, code(page)) for flag in flags(words[:1]) if flag[:2] == "--"}
    sources = [file.read_text() for module in modules(page) for file in files_of(module)]
    return [flag for flag in sorted(alone - known) if not any(f'"{flag}"' in text for text in sources)]


def modules(page: Path) -> set[str]:
    """What the page runs by `python -m`, of ours."""
    found = {name for line in code(page) for name in re.findall(r"python3? -m ([a-z][\w.]*)", line)}
    return {name for name in found if name not in ("venv", "pip", "pytest")}


def files_of(module: str) -> list[Path]:
    """Where a module that can be run is."""
    path = REPO / module.replace(".", "/")
    return [file for file in (path.with_suffix(".py"), path / "__main__.py") if file.is_file()]


@each_page
def test_links_lead_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    assert dead_links(page) == []


@each_page
def test_each_verb_and_each_option_of_a_named_command_exists(page: Path) -> None:
    assert wrong_commands(page) == []


@each_page
def test_each_option_named_alone_is_one_of_some_command(page: Path) -> None:
    assert unknown_options(page) == []


@each_page
def test_each_module_that_is_run_is_there(page: Path) -> None:
    assert [module for module in modules(page) if not files_of(module)] == []


@each_page
def test_each_target_of_make_is_in_the_makefile(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    assert {name for line in code(page) for name in re.findall(r"^make ([a-z]+)", line)} <= targets


@each_page
def test_each_file_of_ours_that_is_named_is_there(page: Path) -> None:
    named = {found for line in code(page) for found in OURS.findall(line)}
    assert [name for name in sorted(named) if not (REPO / name).is_file()] == []


def test_what_is_not_there_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A b\n[x](#a-b) [y](#c) [z](none.md)\n`pagetide replay T --nothing`, `--nowhere 1`, `--keep 1h`\n"
        "```sh\npagetide record A \\\n  --kept 1h -- ls --all\npagetide repeat T # no such verb\n```\n"
        "`pagetide record A --keep 1h -- ls --all`, `python -m nothing.here`\n"
    )
    assert dead_links(page) == ["#c", "none.md"]
    assert wrong_commands(page) == [
        "pagetide record A --kept 1h",
        "pagetide repeat T",
        "pagetide replay T --nothing",
    ]
    assert unknown_options(page) == ["--nowhere"]
    assert modules(page) == {"nothing.here"} and files_of("nothing.here") == []


def test_every_page_of_the_documentation_is_in_its_map() -> None:
    index = (REPO / "docs/README.md").read_text()
    names = [page.name for page in DOCS if page.name != "README.md"]
    assert [name for name in names if f"({name}" not in index] == []
