"""Values that no trace can have: refused when it is opened, so that nothing later meets them. And what
contradicts itself in one, but can be read: told.
"""

import re
from collections.abc import Hashable, Iterable, Iterator
from itertools import pairwise

from tracer.format import (
    FORMAT_VERSION,
    MANIFEST,
    MAX_ORDER_LIMIT,
    MAX_ZONES,
    PFN_BITS,
    Guest,
    Manifest,
    Part,
    Probe,
    Segment,
    Snapshot,
    Zone,
    damaged,
)

MOST_COUNT = 1 << 48  # frames, blocks and events
MOST_FRAMES = 1 << 36  # of a guest: 256 TiB of 4 KiB pages
MOST_NS = 1 << 62  # so that the difference of two instants is an int64

STATUSES = ("recording", "complete", "recovered")
LAYERS = ("buddy", "frame", "owner")
RUNGS = ("tracepoints", "kprobes", "fentry", "imported", "generated")
SNAPSHOT_NAME = re.compile(r"(?!.*-lists$)[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

ZONE_COUNTS = ("present", "managed", "free", "min", "low", "high", "boost")
PROBE_COUNTS = ("hits", "kept", "lost", "filtered")

Limit = tuple[str, int, int, int]  # name, value, least, most


def check_values(manifest: Manifest) -> None:
    """Refuse a guest that cannot be, and snapshots that cannot be of one recording.

    Raises:
        Fault: naming the value.
    """
    _check(MANIFEST, _of_guest(manifest))
    _check(MANIFEST, _of_manifest(manifest))
    _check_words(manifest)
    _refuse_twice(MANIFEST, "probes", [(probe.name, probe.kind, probe.op) for probe in manifest.probes])
    _check_zones(MANIFEST, manifest.zones)
    for index, shot in enumerate(manifest.snapshots):
        _check_snapshot(f"{MANIFEST}.snapshots[{index}]", shot, manifest.guest)
    _check_sequence(manifest.snapshots)


def _check_words(manifest: Manifest) -> None:
    """Refuse words of which a reader cannot know what they mean."""
    guest, filters = manifest.guest, manifest.filters
    words = [("status", manifest.status, STATUSES), ("rung", manifest.rung, RUNGS)]
    words += [(f"layers[{index}]", layer, LAYERS) for index, layer in enumerate(manifest.layers)]
    for name, word, known in words:
        if word not in known:
            raise damaged(f"{MANIFEST}.{name}", f"{word!r:.80} is not one of {', '.join(known)}")
    if not manifest.layers:
        raise damaged(f"{MANIFEST}.layers", "there is none")
    if guest.page_size & (guest.page_size - 1):
        raise damaged(f"{MANIFEST}.guest.page_size", f"{guest.page_size} is no power of two")
    _refuse_twice(MANIFEST, "guest.migratetypes", [name.lower() for name in guest.migratetypes])
    for name in ("orders", "pfns"):
        bounds = getattr(filters, name, None)
        if bounds is not None and len(bounds) != 2:
            raise damaged(f"{MANIFEST}.filters.{name}", f"it has {len(bounds)} numbers, not 2")


def _check_snapshot(where: str, shot: Snapshot, guest: Guest) -> None:
    if not SNAPSHOT_NAME.fullmatch(shot.name):
        raise damaged(f"{where}.name", f"{shot.name!r:.80} is no name of a snapshot")
    _check(where, _of_snapshot(shot, guest.max_order + 1))
    _check(where, _of_page_types(shot, guest))
    _check_zones(where, shot.zones)
    _refuse_twice(where, "buddyinfo", [(info.node, info.zone) for info in shot.buddyinfo])
    files = [part.file for part in shot.parts]
    if files and files != shot.files:
        raise damaged(f"{where}.parts", f"they are {', '.join(files):.80}, not {', '.join(shot.files)}")


def _check_sequence(shots: list[Snapshot]) -> None:
    """Snapshots follow each other, the end one last."""
    names = [shot.name for shot in shots]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise damaged(f"{MANIFEST}.snapshots[{index}].name", f"there are two snapshots {name}")
    if "end" in names[:-1]:
        where = f"{MANIFEST}.snapshots[{names.index('end') + 1}].name"
        raise damaged(where, "a snapshot comes after the one at the end")
    for index, (before, after) in enumerate(pairwise(shots), 1):
        if after.begin_ns <= before.end_ns:
            raise damaged(
                f"{MANIFEST}.snapshots[{index}].begin_ns",
                f"the snapshot {after.name} begins before {before.name} ends",
            )


def _check_zones(where: str, zones: list[Zone]) -> None:
    _check(where, _of_zones(zones))
    _refuse_twice(where, "zones", [(zone.node, zone.name) for zone in zones])


def _refuse_twice(where: str, name: str, values: Iterable[Hashable]) -> None:
    seen: dict[Hashable, int] = {}
    for index, value in enumerate(values):
        if value in seen:
            raise damaged(f"{where}.{name}[{index}]", f"it is there already: {name}[{seen[value]}]")
        seen[value] = index


def contradictions(manifest: Manifest) -> Iterator[str]:
    """What in a manifest contradicts the rest of it, though each value can be: a line each."""
    names = [shot.name for shot in manifest.snapshots]
    zones = manifest.snapshots[0].zones if names else manifest.zones
    yield from _of_spans(zones)
    kept = manifest.discarded_events or any(w.split("=")[0] == "--keep" for w in manifest.command_line)
    if names and names[0] not in ("start", "end") and not kept:
        yield f"the start snapshot is missing: the trace begins with {names[0]}"
    for shot in manifest.snapshots:
        named = {(zone.node, zone.name): zone for zone in shot.zones}
        for zone in zones:
            later = named.get((zone.node, zone.name))
            if later is None or later.start_pfn > zone.start_pfn or later.end_pfn < zone.end_pfn:
                place = f"{zone.node}/{zone.name}"
                yield f"snapshot {shot.name}: zone {place} is gone or smaller than in {names[0]}"
        for info in shot.buddyinfo:
            if (info.node, info.zone) not in named:
                place = f"{info.node}/{info.zone}"
                yield f"snapshot {shot.name}: buddyinfo tells of zone {place}, which it has not"
    for probe in manifest.probes if manifest.status == "complete" else ():
        if probe.hits != probe.kept + probe.lost + probe.filtered:
            yield f"probe {probe.name}: {probe.hits} hits are not what was kept, lost and filtered together"


def _of_spans(zones: list[Zone]) -> Iterator[str]:
    """Zones that have more than they span."""
    for zone in zones:
        for name in ("present", "managed", "free"):
            count = getattr(zone, name)
            if count > zone.spanned:
                yield f"zone {zone.node}/{zone.name}: {count} frames {name}, but it spans {zone.spanned}"


def check_segment(segment: Segment, where: str) -> None:
    """Refuse a line of the index that cannot be; `where` names it.

    Raises:
        Fault: naming the value.
    """
    _check(where, _of_segment(segment))


def _check(where: str, limits: Iterator[Limit]) -> None:
    for name, value, least, most in limits:
        if not least <= value <= most:
            raise damaged(f"{where}.{name}", f"{value!s:.40} is not in {least}..{most}")


def _of_guest(manifest: Manifest) -> Iterator[Limit]:
    guest, start = manifest.guest, (manifest.snapshots[0] if manifest.snapshots else None)
    yield "format", manifest.format, 1, FORMAT_VERSION
    yield "guest.cpus", guest.cpus, 0, 1 << 20
    yield "guest.page_size", guest.page_size, 512, 1 << 30
    yield "guest.max_order", guest.max_order, 0, MAX_ORDER_LIMIT
    yield "guest.pageblock_order", guest.pageblock_order, 0, guest.max_order
    yield "guest.migratetypes", len(guest.migratetypes), 1, 64
    for index, order in enumerate(guest.pcp_orders):
        yield f"guest.pcp_orders[{index}]", order, 0, MAX_ORDER_LIMIT
    if guest.hz is not None:
        yield "guest.hz", guest.hz, 1, 1_000_000
    if guest.jiffies is not None:
        yield "guest.jiffies", guest.jiffies, 0, MOST_NS
    if guest.jiffies_monotonic_ns is not None:
        yield _instant("guest.jiffies_monotonic_ns", guest.jiffies_monotonic_ns)
    yield "zones", len(start.zones if start else manifest.zones), 1, MAX_ZONES


def _of_manifest(manifest: Manifest) -> Iterator[Limit]:
    yield from _of_probes(manifest.probes)
    yield "late_events", manifest.late_events, 0, MOST_COUNT
    yield "discarded_events", manifest.discarded_events, 0, MOST_COUNT
    if manifest.end_ns is not None:
        yield _instant("end_ns", manifest.end_ns)
    if manifest.clock is not None:
        yield _instant("clock.monotonic_ns", manifest.clock.monotonic_ns)
        yield _instant("clock.wall_ns", manifest.clock.wall_ns)


def _instant(name: str, value_ns: int) -> Limit:
    return name, value_ns, -MOST_NS, MOST_NS


def _ends(name: str, begin_ns: int, end_ns: int) -> Limit:
    """An instant that does not come before another."""
    return name, end_ns, begin_ns, MOST_NS


def _of_zones(zones: list[Zone]) -> Iterator[Limit]:
    for index, zone in enumerate(zones):
        where = f"zones[{index}]"
        yield f"{where}.node", zone.node, 0, 1 << 16
        yield f"{where}.start_pfn", zone.start_pfn, 0, 1 << PFN_BITS
        yield f"{where}.spanned", zone.spanned, 1, 1 << PFN_BITS
        yield f"{where}'s end", zone.end_pfn, 1, 1 << PFN_BITS
        for name in ZONE_COUNTS:
            yield f"{where}.{name}", getattr(zone, name), 0, MOST_COUNT
    yield "zones' spanned, as a sum", sum(zone.spanned for zone in zones), 0, MOST_FRAMES


def _of_snapshot(shot: Snapshot, orders: int) -> Iterator[Limit]:
    yield _instant("begin_ns", shot.begin_ns)
    yield _ends("end_ns", shot.begin_ns, shot.end_ns)
    for part in shot.parts:
        yield from _of_part(part)
    for index, info in enumerate(shot.buddyinfo):
        where = f"buddyinfo[{index}]"
        yield f"{where}.blocks, their number", len(info.blocks), orders, orders
        for order, blocks in enumerate(info.blocks):
            yield f"{where}.blocks[{order}]", blocks, 0, MOST_COUNT
        yield _instant(f"{where}.read_begin_ns", info.read_begin_ns)
        yield _ends(f"{where}.read_end_ns", info.read_begin_ns, info.read_end_ns)


def _of_page_types(shot: Snapshot, guest: Guest) -> Iterator[Limit]:
    kinds, orders = len(guest.migratetypes), guest.max_order + 1
    for index, types in enumerate(shot.page_types):
        where = f"page_types[{index}]"
        yield f"{where}.free_blocks, their number", len(types.free_blocks), kinds, kinds
        yield f"{where}.pageblocks, their number", len(types.pageblocks), kinds, kinds
        for kind, (blocks, count) in enumerate(zip(types.free_blocks, types.pageblocks, strict=False)):
            yield f"{where}.free_blocks[{kind}], their number", len(blocks), orders, orders
            for order, free in enumerate(blocks):
                yield f"{where}.free_blocks[{kind}][{order}]", free, 0, MOST_COUNT
            yield f"{where}.pageblocks[{kind}]", count, 0, MOST_COUNT
        for place, cut in enumerate(types.cut_off):
            yield f"{where}.cut_off[{place}], its length", len(cut), 2, 2
            yield f"{where}.cut_off[{place}][0]", cut[0] if cut else 0, 0, kinds - 1
            yield f"{where}.cut_off[{place}][1]", cut[-1] if cut else 0, 0, orders - 1
        yield _instant(f"{where}.read_begin_ns", types.read_begin_ns)
        yield _ends(f"{where}.read_end_ns", types.read_begin_ns, types.read_end_ns)


def _of_probes(probes: list[Probe]) -> Iterator[Limit]:
    for index, probe in enumerate(probes):
        where = f"probes[{index}]"
        yield f"{where}.op", probe.op, 0, 255
        for name in PROBE_COUNTS:
            yield f"{where}.{name}", getattr(probe, name), 0, MOST_COUNT
        yield f"{where}.skipped", probe.skipped or 0, 0, MOST_COUNT


def _of_part(part: Part) -> Iterator[Limit]:
    yield f"rows of {part.file}", part.rows, 0, MOST_COUNT
    yield f"size_bytes of {part.file}", part.size_bytes, 0, MOST_COUNT


def _of_segment(segment: Segment) -> Iterator[Limit]:
    yield _instant("first_ts_ns", segment.first_ts_ns)
    # One without rows, of a recording that has had no event yet, has nothing to begin or end with.
    earliest_ns = segment.first_ts_ns if segment.rows else -MOST_NS
    yield _ends("last_ts_ns", earliest_ns, segment.last_ts_ns)
    for part in segment.parts:
        yield from _of_part(part)
    yield from _of_probes(segment.probes)
    for index, loss in enumerate(segment.losses):
        where = f"losses[{index}]"
        yield _instant(f"{where}.begin_ns", loss.begin_ns)
        yield _ends(f"{where}.end_ns", loss.begin_ns, loss.end_ns)
        yield f"{where}.events", loss.events, 0, MOST_COUNT
