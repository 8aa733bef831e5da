"""The kernel's own description of its types (BTF), read where a name decides: which argument of a
function is the page, at which offset of a struct a list starts.

Format: Documentation/bpf/btf.rst. The types are records of different lengths, each 3 words (name, info,
size or type) and a tail that the info word tells; ids count them from 1.
"""

import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BTF = Path("/sys/kernel/btf")
KERNEL = "vmlinux"
_MAGIC = 0xEB9F
_ARRAY, _STRUCT, _UNION, _FUNC, _FUNC_PROTO = 3, 4, 5, 12, 13
_NAMES_FOR_TYPES = (8, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type tag: same size as theirs
_POINTER = 2
# By kind: words of the tail, and words for each of its `vlen` entries. Kinds end at 19.
_TAIL = np.zeros(32, np.int64)
_TAIL[[1, 3, 14, 17]] = [1, 3, 1, 1]  # int, array, variable, declaration tag
_EACH = np.zeros(32, np.int64)
_EACH[[4, 5, 6, 13, 15, 19]] = [3, 3, 2, 2, 3, 3]  # struct, union, enum, prototype, section, enum64
_LAST_KIND = 19


class BadTypes(Exception):  # noqa: N818 - a fact of the kernel, told as a reason
    """The description is not there, or not one we can read."""


@dataclass(frozen=True)
class Member:
    """Where a field lies in its struct, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True)
class _Type:
    """One record: `at` is its first word in its owner's."""

    owner: "Types"
    at: int
    name: str
    kind: int
    entries: int
    flag: bool
    size_or_type: int


class Types:
    """The types of the kernel, or of a module on top of the kernel's."""

    def __init__(self, data: bytes, base: "Types | None" = None) -> None:
        """Parse.

        Raises:
            BadTypes: when it is not BTF of this machine's byte order, or has kinds we do not know.
        """
        try:
            magic, _, _, head, at, length, names_at, names_length = struct.unpack_from("<HBBIIIII", data)
        except struct.error as error:
            raise BadTypes("shorter than its header") from error
        if magic != _MAGIC or head + max(at + length, names_at + names_length) > len(data) or length % 4:
            raise BadTypes("no header of BTF, or more promised than there is")
        self._base = base
        self._words = np.frombuffer(data, np.uint32, length // 4, head + at)
        self._names = data[head + names_at : head + names_at + names_length]
        self._first_id = base.end_id if base else 1
        self._first_name = base.end_name if base else 0
        self._starts = self._find_starts()

    @property
    def end_id(self) -> int:
        """One past the last type's id."""
        return self._first_id + len(self._starts)

    @property
    def end_name(self) -> int:
        """One past the last name's offset."""
        return self._first_name + len(self._names)

    def function(self, name: str) -> list[str] | None:
        """The names of a function's parameters; None when it is not described (inlined, optimised)."""
        found = self._named(name, (_FUNC,))
        if found is None:
            return None
        prototype = self.record(found.size_or_type)
        return [prototype.owner.text(name) for name, _ in prototype.owner.entries(prototype, 2)]

    def size(self, name: str) -> int | None:
        """Bytes of a struct; None when it is not described."""
        found = self._named(name, (_STRUCT, _UNION))
        return found.size_or_type if found else None

    def member(self, name: str, field: str) -> Member | None:
        """Where a field lies, also inside unnamed structs and unions; None when it is not there."""
        found = self._named(name, (_STRUCT, _UNION))
        return self._member(found, field) if found else None

    def _member(self, outer: _Type, field: str) -> Member | None:
        for name, type_id, place in outer.owner.entries(outer, 3):
            offset = (place & 0xFFFFFF if outer.flag else place) // 8
            own = outer.owner.text(name)
            if own == field:
                return Member(offset, self._size_of(type_id))
            found = None if own else self._member(self.record(type_id), field)
            if found:
                return Member(offset + found.offset, found.size)
        return None

    def _size_of(self, type_id: int) -> int:
        found = self.record(type_id)
        if found.kind in _NAMES_FOR_TYPES:
            return self._size_of(found.size_or_type)
        if found.kind == _ARRAY:
            ((element, _, count),) = found.owner.entries(found, 3)
            return count * self._size_of(element)
        return 8 if found.kind == _POINTER else found.size_or_type

    def entries(self, of: _Type, words: int) -> list[list[int]]:
        """The tail of a record of these types, in groups of so many words."""
        count = 1 if of.kind == _ARRAY else of.entries
        tail = self._words[of.at + 3 : of.at + 3 + count * words]
        groups: list[list[int]] = tail.reshape(-1, words).tolist()
        return groups

    def record(self, type_id: int) -> _Type:
        """A type by its id.

        Raises:
            BadTypes: when there is none.
        """
        if self._base and type_id < self._first_id:
            return self._base.record(type_id)
        number = type_id - self._first_id
        if not 0 <= number < len(self._starts):
            raise BadTypes(f"there is no type {type_id}")
        return self._read(int(self._starts[number]))

    def text(self, offset: int) -> str:
        """A name by its offset."""
        if self._base and offset < self._first_name:
            return self._base.text(offset)
        begin = offset - self._first_name
        return self._names[begin : self._names.index(b"\0", begin)].decode()

    def offset_of(self, name: str) -> int | None:
        """A name's offset. Each name is stored once."""
        inside = self._names.find(b"\0" + name.encode() + b"\0")
        if inside >= 0:
            return self._first_name + inside + 1
        return self._base.offset_of(name) if self._base else None

    def _read(self, at: int) -> _Type:
        name, info, last = self._words[at : at + 3].tolist()
        return _Type(self, at, self.text(name), info >> 24 & 31, info & 0xFFFF, bool(info >> 31), last)

    def _named(self, name: str, kinds: tuple[int, ...]) -> _Type | None:
        """The first type of that name. A struct that is only declared has another kind."""
        offset = self.offset_of(name)
        if offset is None:
            return None
        places = self._starts[self._words[self._starts] == offset].tolist()
        found = (self._read(at) for at in places)
        return next((one for one in found if one.kind in kinds), None)

    def _find_starts(self) -> "NDArray[np.int64]":
        """Each type's first word: how far to the next is computed for all words at once, then followed."""
        words = self._words
        info = words[1:]
        kind, entries = info >> 24 & 31, info & 0xFFFF
        following = (np.arange(len(info)) + 3 + _TAIL[kind] + _EACH[kind] * entries).tolist()
        starts, at = [], 0
        while at < len(following):
            starts.append(at)
            at = following[at]
        if at != len(words) or (kind[starts] > _LAST_KIND).any():
            raise BadTypes("it has kinds of types that are not known here")
        return np.array(starts, np.int64)


@cache
def load(module: str = KERNEL, folder: Path = BTF) -> Types:
    """The types of the running kernel, or of one of its modules.

    Raises:
        BadTypes: when the kernel does not give them, or they cannot be read.
    """
    try:
        data = (folder / module).read_bytes()
    except OSError as error:
        raise BadTypes(f"{folder / module}: {error.strerror}") from error
    return Types(data, None if module == KERNEL else load(KERNEL, folder))
