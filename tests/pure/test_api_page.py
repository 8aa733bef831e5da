"""docs/api.md is what the code says, and the code says something of everything public."""

import griffe
import pytest

from docs import api


@pytest.fixture(scope="module")
def names():
    return {f"{package}.{name}": item for package in api.GROUPS for name, item in api.public(package).items()}


def test_the_page_is_what_the_code_says() -> None:
    assert api.main(["--check"]) == 0, "make it anew: python -m docs.api"


def test_every_public_name_is_told_once_and_says_what_it_is(names) -> None:
    text = api.PAGE.read_text()
    for name, item in names.items():
        assert text.count(f"`{name}`\n") == 1, name
        said = api.comment(item) if item.is_attribute else item.docstring
        assert said, f"{name} has no docstring"


def test_every_field_value_property_and_method_says_what_it_is(names) -> None:
    silent = [
        line
        for line in api.PAGE.read_text().splitlines()
        if (line.startswith("| `") and line.endswith("|  |"))
        or (line.startswith("- `") and line.endswith("`: "))
    ]
    assert silent == []


# They take what a command has looked at before, or any text there is.
QUIET = {
    "tracer.can_show",
    "tracer.output_fault",
    "tracer.plain",
    "tracer.put_in_place",
    "tracer.remove_tree",
    "tracer.trace_after",
    "tracer.traces_offered",
    "tracer.words_offered",
}


def test_each_function_that_takes_what_a_user_wrote_says_what_it_refuses(names) -> None:
    of_users = ("str", "Path", "Trace", "Recipe")
    for name, item in names.items():
        takes = (
            " ".join(str(parameter.annotation) for parameter in item.parameters) if item.is_function else ""
        )
        if name not in QUIET and any(word in takes for word in of_users):
            assert "Fault" in _raised(item), name


def _raised(item) -> set[str]:
    return {
        str(error.annotation)
        for section in api.docstring(item)
        if section.kind is griffe.DocstringSectionKind.raises
        for error in section.value
    }


def test_a_name_that_is_no_longer_exported_is_refused(names) -> None:
    kept = {name.removeprefix("replay."): item for name, item in names.items() if name.startswith("replay.")}
    del kept["sweep"]
    with pytest.raises(ValueError, match=r"no longer exports: \['sweep'\]"):
        api.grouped("replay", kept)


def test_a_name_that_nobody_placed_is_told_at_the_end(names) -> None:
    kept = {name.removeprefix("tracer."): item for name, item in names.items() if name.startswith("tracer.")}
    assert "brand_new" in api.grouped("tracer", {**kept, "brand_new": None})[api.REST]
