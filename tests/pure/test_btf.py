"""The kernel's description of its types: parameters and offsets are found by name."""

import struct
from pathlib import Path

import pytest

from tests.pure import small_types
from tests.pure.small_types import Builder
from tracer.image.btf import BadTypes, Member, Types, load


def kernel() -> Builder:
    """A page whose list lies in a struct in a union, as in the kernel, and every kind in between."""
    made = Builder()
    word = made.integer("unsigned long", 8)
    half = made.integer("unsigned int", 4)
    page_pointer = made.pointer()
    link = made.structure("list_head", 16, [("next", page_pointer, 0), ("prev", page_pointer, 8)])
    made.add(small_types.ENUM, "color", 4, struct.pack("<II", made.name("red"), 0), 1)
    made.add(small_types.ENUM64, "wide", 8, struct.pack("<III", made.name("blue"), 0, 1), 1)
    made.add(small_types.FORWARD, "zone")
    made.add(small_types.FLOAT, "float", 4)
    made.add(small_types.VARIABLE, "counter", word, struct.pack("<I", 1))
    made.add(small_types.SECTION, ".data", 8, struct.pack("<III", word, 0, 8), 1)
    alias = made.add(small_types.TYPEDEF, "links_t", made.add(small_types.CONST, "", link))
    inner = made.structure("", 32, [("lru", alias, 0), ("mapping", page_pointer, 16), ("private", word, 24)])
    union = made.structure("", 32, [("", inner, 0), ("rest", made.array(word, 4), 0)], union=True)
    made.structure("page", 48, [("flags", word, 0), ("", union, 8), ("count", half, 40)])
    made.structure("zone", 200, [("lists", made.array(link, 5), 16)], flag=1)
    made.function("free_it", [("page", page_pointer), ("pfn", word), ("order", half)])
    made.function("notify", [])
    return made


TYPES = Types(kernel().bytes())


def test_parameters_are_told_in_their_order() -> None:
    assert TYPES.function("free_it") == ["page", "pfn", "order"]
    assert TYPES.function("notify") == []


@pytest.mark.parametrize("name", ["nothing", "free", "page", ""])
def test_what_is_no_described_function_has_no_parameters(name: str) -> None:
    assert TYPES.function(name) is None


@pytest.mark.parametrize(
    ("name", "field", "expected"),
    [
        ("page", "flags", Member(0, 8)),
        ("page", "lru", Member(8, 16)),  # through unnamed union and struct, typedef and const
        ("page", "private", Member(32, 8)),
        ("page", "mapping", Member(24, 8)),
        ("page", "rest", Member(8, 32)),
        ("page", "count", Member(40, 4)),
        ("zone", "lists", Member(16, 80)),  # the declaration of the same name is no struct
        ("list_head", "prev", Member(8, 8)),
    ],
)
def test_a_field_is_found_wherever_it_lies(name: str, field: str, expected: Member) -> None:
    assert TYPES.member(name, field) == expected


def test_a_field_or_struct_that_is_not_there_is_none() -> None:
    assert TYPES.member("page", "next") is None
    assert TYPES.member("folio", "lru") is None
    assert TYPES.size("folio") is None


def test_sizes_are_told() -> None:
    assert (TYPES.size("page"), TYPES.size("zone"), TYPES.size("list_head")) == (48, 200, 16)


def test_bit_fields_do_not_disturb_offsets() -> None:
    made = Builder()
    word = made.integer("int", 4)
    tail = struct.pack("<III", made.name("bits"), word, 3 << 24 | 0) + struct.pack(
        "<III", made.name("next"), word, 32
    )
    made.add(small_types.STRUCT, "mixed", 8, tail, 2, flag=1)
    assert Types(made.bytes()).member("mixed", "next") == Member(4, 4)


def test_a_modules_types_build_on_the_kernels() -> None:
    base = kernel()
    module = Builder(base)
    module.function("report", [("page", 3), ("nents", 2), ("private", 1)])
    module.structure("device", 24, [("lru", 4, 0), ("own", module.pointer(), 16)])
    types = Types(module.bytes(), TYPES)
    assert types.function("report") == ["page", "nents", "private"]
    assert types.member("device", "lru") == Member(0, 16)
    assert types.member("device", "own") == Member(16, 8)
    assert types.function("absent") is None


def test_the_running_kernels_types_are_read_where_it_has_any(tmp_path: Path) -> None:
    with pytest.raises(BadTypes, match="No such file"):
        load("vmlinux", tmp_path)
    (tmp_path / "vmlinux").write_bytes(kernel().bytes())
    module = Builder(kernel())
    module.function("report", [("page", 3)])
    (tmp_path / "balloon").write_bytes(module.bytes())
    assert load("balloon", tmp_path / ".").function("report") == ["page"]


WHOLE = kernel().bytes()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "shorter"),
        (WHOLE[:20], "shorter"),
        (b"\xeb\x9f" + WHOLE[2:], "no header"),
        (WHOLE[:-1], "more promised"),
        (WHOLE + b"x", None),
        (Builder(types=[struct.pack("<III", 0, 20 << 24, 0)]).bytes(), "kinds"),
        (Builder(types=[struct.pack("<III", 0, small_types.STRUCT << 24 | 9, 0)]).bytes(), "kinds"),
    ],
)
def test_what_is_no_such_description_is_refused(data: bytes, reason: str | None) -> None:
    if reason is None:
        assert Types(data).size("page") == 48
        return
    with pytest.raises(BadTypes, match=reason):
        Types(data)
