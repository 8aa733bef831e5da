"""What guests are called in tables and pictures."""

from collections import Counter
from collections.abc import Sequence


def guest_names(addresses: Sequence[str]) -> dict[str, str]:
    """A name for each address: its last part without `.trace`; all of it where that is another's too."""
    short = {each: each.rstrip("/").rpartition("/")[2].removesuffix(".trace") or each for each in addresses}
    times = Counter(short.values())
    return {each: name if times[name] == 1 else each for each, name in short.items()}
