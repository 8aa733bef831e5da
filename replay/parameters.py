"""Knobs, and how people write them: `key=value,key=value`, for policies, the device and the host."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracer import Fault, Guest, duration_ns, write_duration

Value = int | float | bool | str


@dataclass(frozen=True)
class Parameter:
    """One knob. `kind`: int, duration, bool or a tuple of words; `default` None: `of_guest`, a name in it."""

    name: str
    kind: str | tuple[str, ...]
    default: Value | None
    meaning: str
    minimum: int = 0
    maximum: int = 1 << 20
    of_guest: str = ""

    def default_for(self, guest: Guest) -> Value:
        """The default in this guest."""
        value: Value = getattr(guest, self.of_guest) if self.default is None else self.default
        return value

    def parse(self, text: str) -> Value:
        """The value a user wrote; durations become ns.

        Raises:
            Fault: when it is not of this kind.
        """
        if isinstance(self.kind, tuple):
            return self._word(text, self.kind)
        if self.kind == "bool":
            return self._word(text, ("on", "off")) == "on"
        if self.kind == "duration":
            number = duration_ns(text)
        else:
            number = int(text) if text.isascii() and text.isdigit() else self.minimum - 1
        if not self.minimum <= number <= self.maximum:
            raise self._refused(text, self._range())
        return number

    def settled(self, value: Any) -> Value:  # noqa: ANN401 - that is the question
        """The value that Python code gave: text as `parse` takes it, or a value of this kind.

        Raises:
            Fault: when it is not of this kind.
        """
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(self.kind, tuple):
            raise self._refused(repr(value), f"it must be {' or '.join(self.kind)}, as text")
        if self.kind == "bool":
            return self.flag(value)
        return self.number(value)

    def flag(self, value: Any) -> bool:  # noqa: ANN401 - likewise
        """The value, if it is True or False.

        Raises:
            Fault: when it is not.
        """
        if not isinstance(value, bool | np.bool_):
            raise self._refused(repr(value), "it must be True or False")
        return bool(value)

    def number(self, value: Any) -> int:  # noqa: ANN401 - likewise
        """The value, if it is a whole number in range; durations are ns.

        Raises:
            Fault: when it is not.
        """
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or not self.minimum <= value <= self.maximum:
            in_ns = " (a whole number of ns)" if self.kind == "duration" else ""
            raise self._refused(repr(value), self._range() + in_ns)
        return int(value)

    def _range(self) -> str:
        whole = "a whole number " if self.kind == "int" else ""
        return f"it must be {whole}from {self.written(self.minimum)} to {self.written(self.maximum)}"

    def _refused(self, text: str, how: str) -> Fault:
        return Fault(f"{self.name}={text} is not possible", how, f"{self.name}: {self.meaning}")

    def written(self, value: Value) -> Value:
        """The value as `parse` takes it and JSON shows it: durations with their unit."""
        return write_duration(int(value)) if self.kind == "duration" else value

    def _word(self, text: str, words: tuple[str, ...]) -> str:
        if text not in words:
            raise self._refused(text, f"it must be {' or '.join(words)}")
        return text


def word_of(value: Value) -> str:
    """A value as `Parameter.parse` takes it."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def pairs(text: str, option: str) -> dict[str, str]:
    """Values by key, as they were written. `option`: what they belong to, for the message.

    Raises:
        Fault: for a part without `=`, and for a key that comes twice.
    """
    found: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise Fault(f"{part!r} is not key=value", f"in {option}", f"write {part}=VALUE")
        if key in found:
            raise Fault(f"{key} is given twice", f"in {option}", "leave one out")
        found[key] = value
    return found


def values(text: str, parameters: Iterable[Parameter], option: str) -> dict[str, Value]:
    """Values by name, parsed.

    Raises:
        Fault: as `pairs`; for an unknown key, or a value of the wrong form.
    """
    known = {parameter.name: parameter for parameter in parameters}
    given = pairs(text, f"{option} {text}")
    for name in given.keys() - known.keys():
        raise Fault(f"there is no {name!r}", f"in {option} {text}", f"known: {', '.join(known)}")
    return {name: known[name].parse(value) for name, value in given.items()}
