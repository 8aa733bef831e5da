"""Knobs, and how people write them: `key=value,key=value`, for policies, the device and the host."""

from collections.abc import Iterable
from dataclasses import dataclass

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
            least, most = self.written(self.minimum), self.written(self.maximum)
            whole = "a whole number " if self.kind == "int" else ""
            how = f"it must be {whole}from {least} to {most}"
            raise Fault(f"{self.name}={text} is not possible", how, f"{self.name}: {self.meaning}")
        return number

    def written(self, value: Value) -> Value:
        """The value as `parse` takes it and JSON shows it: durations with their unit."""
        return write_duration(int(value)) if self.kind == "duration" else value

    def _word(self, text: str, words: tuple[str, ...]) -> str:
        if text not in words:
            raise Fault(
                f"{self.name}={text} is not possible",
                f"it must be {' or '.join(words)}",
                f"{self.name}: {self.meaning}",
            )
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
