"""What guests and settings are called in tables and pictures."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from replay.report.labels import labels

if TYPE_CHECKING:
    from replay.fleet.fleet import Fleet


def guest_names(addresses: Sequence[str]) -> dict[str, str]:
    """A name for each address: its last part without `.trace`; all of it where that is another's too."""
    short = {each: each.rstrip("/").rpartition("/")[2].removesuffix(".trace") or each for each in addresses}
    times = Counter(short.values())
    return {each: name if times[name] == 1 else each for each, name in short.items()}


def setting_names(fleet: "Fleet") -> dict[str, str]:
    """A name for each setting compared: the policy's, and what tells it apart from others of that policy."""
    first = fleet.guests.unique("setting", keep="first", maintain_order=True)
    rows = {row["setting"]: row for row in first.iter_rows(named=True)}
    told = [
        {"policy": rows[each]["policy"], "params": json.loads(rows[each]["params"] or "{}")}
        for each in fleet.compared
    ]
    return dict(zip(fleet.compared, labels(told), strict=True))
