"""What guests and settings are called in tables and pictures."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from replay.parameters import word_of
from tracer import plain

if TYPE_CHECKING:
    from replay.fleet.fleet import Fleet


def guest_names(addresses: Sequence[str]) -> dict[str, str]:
    """A name for each address: its last part without `.trace`; all of it where that is another's too."""
    short = {each: each.rstrip("/").rpartition("/")[2].removesuffix(".trace") or each for each in addresses}
    times = Counter(short.values())
    return {each: name if times[name] == 1 else each for each, name in short.items()}


def setting_names(fleet: "Fleet") -> dict[str, str]:
    """A name for each setting compared: its policy's, with what differs from that policy's first setting; no
    two are the same.
    """
    first = fleet.guests.unique("setting", keep="first", maintain_order=True)
    rows = {row["setting"]: row for row in first.iter_rows(named=True)}
    told = {each: (rows[each]["policy"], json.loads(rows[each]["params"] or "{}")) for each in fleet.compared}
    plainest: dict[str, str] = {}
    for each in sorted(fleet.compared, key=len):
        plainest.setdefault(told[each][0], each)
    names = {each: _named(*told[each], told[plainest[told[each][0]]][1]) for each in fleet.compared}
    times = Counter(names.values())
    return {each: name if times[name] == 1 else plain(each) for each, name in names.items()}


def _named(policy: str, params: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    apart = [f"{name}={word_of(value)}" for name, value in params.items() if usual.get(name) != value]
    return plain(f"{policy}: {', '.join(apart)}" if apart else policy)
