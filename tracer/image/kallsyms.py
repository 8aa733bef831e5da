"""/proc/kallsyms: which functions and variables the kernel has, where, and in which module."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

KALLSYMS = Path("/proc/kallsyms")


@dataclass(frozen=True)
class Symbol:
    """One line. `address` is 0 where the kernel hides addresses (kptr_restrict)."""

    name: str
    address: int
    module: str | None  # None: the kernel itself


def read(names: Iterable[str], path: Path = KALLSYMS) -> dict[str, Symbol]:
    """Those of `names` that there are, by name; none when the list cannot be read.

    A function the compiler changed stands there as `name.constprop.0` and the like: it is told
    under that longer name, since its arguments may no longer be the source's.
    """
    wanted = b"|".join(re.escape(name.encode()) for name in names)
    try:
        text = path.read_bytes()
    except OSError:
        return {}
    lines = re.findall(rb"^([0-9a-f]+) \w ((?:%s)(?:\.\S+)?)(?:\t\[(\w+)\])?$" % wanted, text, re.MULTILINE)
    return {
        name.decode(): Symbol(name.decode(), int(address, 16), module.decode() or None)
        for address, name, module in lines
    }
