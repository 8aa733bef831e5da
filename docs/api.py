"""The Python API as a page: every public name of `tracer` and `replay`, as its source tells it.

Usage: python -m docs.api [--check]: writes docs/api.md, or says whether it is what the code says.

Signatures and docstrings are read by griffe, without importing anything: defaults stand as they are
written in the source, and fields have their comments, neither of which `inspect` can see.
"""

import re
import sys
from pathlib import Path
from typing import Any, cast

import griffe
from griffe import DocstringSectionKind as Kind

REPO = Path(__file__).parents[1]
PAGE = REPO / "docs/api.md"
HEAD = """# The Python API

Every public name of the two packages. This page is made of the docstrings by `python -m docs.api`; a
test holds it against the code. `replay` is what an analysis needs, `tracer` reads and writes traces; both
import their parts only when a name is first used.

```python
import replay

result = replay.run("data/database.trace", "upstream", delay="100ms")
print(result.summary["latency_s"])
```

- Sizes are bytes (`_bytes`) or page frames, times are the guest's own clock: nanoseconds as integers (`_ns`)
  in traces and options, seconds as floats (`_s`) in results. The terms are in [concepts.md](concepts.md), the
  metrics in [metrics.md](metrics.md).
- What a user can cause (no such trace, a policy that does not exist, a value that cannot be) is a
  `tracer.Fault`: what happened, how that is known, what to do. Anything else that is raised is a bug.
- Tables are polars frames in `replay`, and Arrow tables or NumPy arrays in `tracer`, whose `Trace.events`
  alone is a polars frame, too.
- A policy of your own has an API of its own: [policies.md](policies.md#write-your-own).
"""
# Names of a package in reading order; those that are not told here come last. A dotted one is told although
# its package does not export it, since a public function takes it.
GROUPS = {
    "replay": {
        "Replay a trace": ["run", "replay", "Options", "Device", "costs.Costs"],
        "What comes out": ["Result", "Replay"],
        "Many settings": ["sweep", "Sweep"],
        "Many guests": ["fleet", "Fleet", "Gains"],
        "Is the model right?": ["validate", "Verdict"],
        "Synthetic traces": ["generate", "Generated", "preset", "Recipe", "Kind"],
    },
    "tracer": {
        "Read a trace": ["open_trace", "Trace", "Place", "convert"],
        "Faults and units": [
            "Fault",
            "duration_ns",
            "size_bytes",
            "write_duration",
            "short_duration",
            "human_bytes",
        ],
        "What a trace is made of": [
            "Manifest",
            "Guest",
            "Zone",
            "Reporting",
            "Snapshot",
            "Probe",
            "Loss",
            "BuddyInfo",
            "PageTypes",
            "Op",
            "FrameState",
            "CHUNK_FRAMES",
            "GUEST_COUNTS",
            "ZONE_COUNTS",
        ],
        "Write a trace": ["TraceWriter", "TraceOutput", "segment_of"],
    },
}
REST = "Shared by commands"
WIDTH = 96


def public(package: str) -> dict[str, Any]:
    """What is told of a package, by name: griffe's objects, as they are defined."""
    loaded = cast("Any", griffe.load(package, search_paths=[REPO], allow_inspection=False))
    more = [name for members in GROUPS[package].values() for name in members if "." in name]
    return {name: _defined(loaded[name]) for name in [*map(str, loaded.exports), *more]}


def _defined(item: Any) -> Any:  # noqa: ANN401 - griffe's objects
    return item.final_target if item.is_alias else item


def page() -> str:
    """The whole page."""
    found = {package: public(package) for package in GROUPS}
    parts = [HEAD, *(_contents(package, names) for package, names in found.items())]
    for package, names in found.items():
        parts.append(f"## `{package}`\n")
        for title, members in grouped(package, names).items():
            parts.append(f"### {title}\n")
            parts += [_entry(package, name, names[name]) for name in members]
    return "\n".join(parts).rstrip() + "\n"


def grouped(package: str, names: dict[str, Any]) -> dict[str, list[str]]:
    """Names by the title they stand under.

    Raises:
        ValueError: when a name that the groups tell is no longer exported.
    """
    groups = GROUPS[package]
    told = [name for members in groups.values() for name in members]
    if gone := set(told) - set(names):
        raise ValueError(f"docs/api.py tells of names that {package} no longer exports: {sorted(gone)}")
    return {**groups, REST: rest} if (rest := sorted(set(names) - set(told))) else groups


def _contents(package: str, names: dict[str, Any]) -> str:
    lines = [
        f"- **{package}**, {title[0].lower() + title[1:]}: "
        + ", ".join(f"[{name}](#{_anchor(package, name, names[name])})" for name in members)
        for title, members in grouped(package, names).items()
    ]
    return "\n".join(lines) + "\n"


def _heading(package: str, name: str, item: Any) -> str:  # noqa: ANN401
    """As it stands in the page. `class` keeps `replay.Replay` and `replay.replay` apart in links."""
    return f"{'class ' if item.is_class else ''}`{package}.{name}`"


def _anchor(package: str, name: str, item: Any) -> str:  # noqa: ANN401
    """How Markdown on the web links to the heading."""
    return re.sub(r"[^\w -]", "", _heading(package, name, item)).lower().replace(" ", "-")


def _entry(package: str, name: str, item: Any) -> str:  # noqa: ANN401
    """One name: its heading, how it is called, and what its docstring says."""
    parts = [f"#### {_heading(package, name, item)}\n"]
    sections = docstring(item)
    if item.is_function:
        parts.append(f"```python\n{signature(f'{package}.{name}', item.parameters, item.returns)}\n```\n")
    elif item.is_class and not fields_of(item) and not values_of(item):
        parts.append(f"```python\n{signature(f'{package}.{name}', item.parameters, None)}\n```\n")
    elif item.is_attribute:
        parts += [f"`{item.value}`\n", comment(item) + "\n"]
    parts += _prose(sections)
    if item.is_class:
        parts += _class(item, sections)
    return "\n".join(parts)


def docstring(item: Any) -> list[Any]:  # noqa: ANN401
    """Its docstring's sections, Google style; none where there is none."""
    return item.docstring.parse("google") if item.docstring else []


def signature(name: str, parameters: Any, returns: Any, width: int = WIDTH) -> str:  # noqa: ANN401
    """How it is called, one parameter a line where that is wider than `width`."""
    words: list[str] = []
    for parameter in parameters:
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is griffe.ParameterKind.keyword_only and not any(w.startswith("*") for w in words):
            words.append("*")
        words.append(_parameter(parameter))
    arrow = f" -> {_type(returns)}" if returns is not None else ""
    line = f"{name}({', '.join(words)}){arrow}"
    if len(line) <= width:
        return line
    return "\n".join([f"{name}(", *(f"    {word}," for word in words), f"){arrow}"])


def _parameter(parameter: Any) -> str:  # noqa: ANN401
    stars = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}
    star = stars.get(parameter.kind, "")
    kind = f": {_type(parameter.annotation)}" if parameter.annotation is not None else ""
    if parameter.default is None or star:
        return f"{star}{parameter.name}{kind}"
    return f"{parameter.name}{kind} = {parameter.default}"


def _type(annotation: Any) -> str:  # noqa: ANN401
    """An annotation as text; quotes that only put off its import are no part of it."""
    return str(annotation).strip("'\"")


def _prose(sections: list[Any]) -> list[str]:
    """Text, arguments and errors. Attributes go into the table of fields."""
    parts = []
    for section in sections:
        if section.kind is Kind.text:
            parts.append(section.value + "\n")
        elif section.kind is Kind.parameters:
            parts.append(
                "\n".join(f"- `{it.name}`: {_joined(it.description)}" for it in section.value) + "\n"
            )
        elif section.kind is Kind.raises:
            parts.append(
                "\n".join(f"Raises `{it.annotation}`: {_joined(it.description)}" for it in section.value)
                + "\n"
            )
    return parts


def _class(item: Any, sections: list[Any]) -> list[str]:  # noqa: ANN401
    """Fields or attributes as a table, then properties and methods as a list."""
    told = {
        it.name: _joined(it.description)
        for section in sections
        if section.kind is Kind.attributes
        for it in section.value
    }
    parts = []
    if fields := fields_of(item):
        rows = [_field_row(field, told.get(field.name) or comment(field)) for field in fields]
        parts.append("| field | type | default | |\n| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n")
    elif values := values_of(item):
        rows = [f"| `{value.name}` | {value.value} | {_cell(comment(value))} |" for value in values]
        parts.append("| name | value | |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n")
    elif told:
        rows = [f"| `{name}` | {_cell(meaning)} |" for name, meaning in told.items()]
        parts.append("| attribute | |\n| --- | --- |\n" + "\n".join(rows) + "\n")
    if members := [member for member in item.members.values() if _is_told(member)]:
        parts.append("\n".join(_member(member) for member in members) + "\n")
    return parts


def fields_of(item: Any) -> list[Any]:  # noqa: ANN401
    """A dataclass's fields."""
    if "dataclass" not in item.labels:
        return []
    return [
        member
        for member in item.members.values()
        if member.is_attribute
        and "instance-attribute" in member.labels
        and not member.name.startswith("_")
        and "property" not in member.labels
    ]


def values_of(item: Any) -> list[Any]:  # noqa: ANN401
    """An enumeration's values."""
    if not any("Enum" in str(base) for base in item.bases):
        return []
    return [member for member in item.members.values() if member.is_attribute and member.annotation is None]


def _field_row(field: Any, meaning: str) -> str:  # noqa: ANN401
    made = re.sub(r"^field\(default_factory=(\w+)\)$", r"\1()", str(field.value))
    default = f"`{made}`" if field.value is not None else ""
    cells = (f"`{field.name}`", f"`{_type(field.annotation)}`", default, meaning)
    return f"| {' | '.join(map(_cell, cells))} |"


def _is_told(member: Any) -> bool:  # noqa: ANN401
    """Methods and properties for all; what begins with an underscore is not."""
    if member.is_alias or member.name.startswith("_"):
        return False
    return bool(member.is_function or "property" in member.labels)


def _member(member: Any) -> str:  # noqa: ANN401
    """One line of a method or property, its errors in it."""
    text = " ".join(_joined(part) for part in _prose(docstring(member)))
    if member.is_function:
        returns = member.returns if str(member.returns) != "None" else None
        return f"- `.{signature(member.name, member.parameters, returns, sys.maxsize)}`: {text}"
    return f"- `.{member.name}: {_type(member.annotation)}`: {text}"


def comment(item: Any) -> str:  # noqa: ANN401
    """The comment on its line, or the whole lines of comment before it."""
    lines = item.lines_collection[item.filepath]
    at = item.lineno - 1
    if found := re.search(r"  # (?!noqa)(.*)$", lines[at]):
        return found[1]
    above: list[str] = []
    while lines[at - 1].strip().startswith("# "):
        at -= 1
        above.insert(0, lines[at].strip()[2:])
    return " ".join(above)


def _joined(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write the page, or with --check compare it: 1 when it differs."""
    made = page()
    if "--check" in arguments:
        if PAGE.read_text() == made:
            return 0
        print("docs/api.md is not what the code says: python -m docs.api", file=sys.stderr)
        return 1
    PAGE.write_text(made)
    print(f"wrote {PAGE.relative_to(REPO)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
