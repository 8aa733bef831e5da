"""BTF made by hand: a builder that writes the format as Documentation/bpf/btf.rst tells it."""

import struct
from dataclasses import dataclass, field

INT, POINTER, ARRAY, STRUCT, UNION, ENUM, FORWARD, TYPEDEF, CONST = 1, 2, 3, 4, 5, 6, 7, 8, 10
FUNCTION, PROTOTYPE, VARIABLE, SECTION, FLOAT, ENUM64 = 12, 13, 14, 15, 16, 19
Entries = list[tuple[str, int, int]]


@dataclass
class Builder:
    """Types are added one by one; each call returns the new type's id. `base`: what a module builds on."""

    base: "Builder | None" = None
    names: bytes = b""
    types: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.base is None:
            self.names = b"\0"

    @property
    def _first_name(self) -> int:
        return self.base._first_name + len(self.base.names) if self.base else 0

    @property
    def _next_id(self) -> int:
        return (self.base._next_id if self.base else 1) + len(self.types)

    def name(self, text: str) -> int:
        if not text:
            return 0
        at = self.names.find(b"\0" + text.encode() + b"\0")
        if at >= 0:
            return self._first_name + at + 1
        self.names += text.encode() + b"\0"
        return self._first_name + len(self.names) - len(text) - 1

    def add(
        self, kind: int, name: str = "", last: int = 0, tail: bytes = b"", entries: int = 0, flag: int = 0
    ) -> int:
        word = kind << 24 | entries | flag << 31
        number = self._next_id
        self.types.append(struct.pack("<III", self.name(name), word, last) + tail)
        return number

    def integer(self, name: str, size: int) -> int:
        return self.add(INT, name, size, struct.pack("<I", size * 8))

    def pointer(self, to: int = 0) -> int:
        return self.add(POINTER, "", to)

    def array(self, of: int, count: int) -> int:
        return self.add(ARRAY, "", 0, struct.pack("<III", of, of, count))

    def structure(self, name: str, size: int, members: Entries, *, union: bool = False, flag: int = 0) -> int:
        """Members: (name, type, offset in bytes)."""
        tail = b"".join(struct.pack("<III", self.name(n), kind, at * 8) for n, kind, at in members)
        return self.add(UNION if union else STRUCT, name, size, tail, len(members), flag)

    def function(self, name: str, parameters: list[tuple[str, int]]) -> int:
        tail = b"".join(struct.pack("<II", self.name(n), kind) for n, kind in parameters)
        return self.add(FUNCTION, name, self.add(PROTOTYPE, "", 0, tail, len(parameters)))

    def bytes(self) -> bytes:
        types = b"".join(self.types)
        head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(self.names))
        return head + types + self.names
