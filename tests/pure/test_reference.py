"""The pages that are made from the command line are what the command line is, and can be read."""

import re
import shutil
import subprocess

import pytest

from replay import main
from replay.reference import markdown, roff
from replay.reference.__main__ import PAGES, ROOT, stale
from replay.reference.walk import verbs
from tests.pure.test_command_line import pagetide


def test_the_pages_are_what_the_code_says():
    assert stale() == [], "python -m replay.reference"


def test_every_verb_is_told_with_every_option_of_its_help():
    told = {verb.name: verb for verb in verbs()}
    assert list(told) == list(main.VERBS)
    for name in ("replay", "record", "generate"):
        listed = set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", pagetide(name, "--help").stdout, re.MULTILINE))
        known = {word for entry in told[name].options for word in re.findall(r"--[\w-]+", entry.term)}
        assert len(listed) > 5
        assert listed - {"--help"} <= known


def test_both_pages_tell_the_same_entries():
    page, man = markdown.page().replace("\n  ", " "), roff.page()
    for verb in verbs():
        assert f"## pagetide {verb.name}\n" in page
        for entry in (*verb.arguments, *verb.options):
            assert f"- `{entry.term}`: " in page
            assert f".B {roff._plain(entry.term)}\n" in man


def test_what_roff_would_take_for_its_own_is_written_as_text():
    assert roff._plain(".x 'a' \"b\" \\c `d` --e") == (
        "\\&.x \\(aqa\\(aq \\(dqb\\(dq \\ec \\(gad\\(ga \\-\\-e"
    )


def test_the_lines_of_the_page_are_as_wide_as_those_of_others():
    wide = [line for line in markdown.page().splitlines() if len(line) > markdown.WIDTH]
    assert all(line.startswith(("pagetide ", "- `")) for line in wide)


def test_the_man_page_renders_without_a_warning():
    page = ROOT / "share/man/man1/pagetide.1"
    assert str(page.relative_to(ROOT)) in PAGES
    if shutil.which("groff"):
        command = ["groff", "-man", "-ww", "-Tutf8", str(page)]
    elif shutil.which("mandoc"):
        command = ["mandoc", "-Werror", "-Tutf8", str(page)]
    else:
        pytest.skip("there is neither groff nor mandoc here")
    done = subprocess.run(command, text=True, capture_output=True, check=True)
    assert done.stderr == ""
    shown = re.sub(".\b", "", done.stdout)  # a letter struck twice is bold
    for words in ("PAGETIDE(1)", "pagetide", "replay", "EXIT STATUS", "NO_COLOR"):
        assert words in shown
