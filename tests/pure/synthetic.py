"""Small recipes, traces made of them, and what their events say plainly."""

from collections.abc import Iterable
from pathlib import Path

from hypothesis import strategies as st

from replay.generating.kind import AGES, TYPES, WAVES, Kind
from replay.generating.recipe import Recipe
from replay.generating.writing import generate
from tracer import Op, Trace

SECOND_NS = 10**9
# Page size, max order, pageblock order, frames.
GUESTS = [
    (4096, 10, 9, 6000),
    (4096, 10, 9, 24_000),
    (4096, 6, 3, 700),
    (4096, 4, 4, 1500),
    (16384, 11, 11, 12_000),
    (65536, 13, 13, 33_000),
    (65536, 9, 5, 2500),
]
TAKING = (Op.ZONE_LOCKED, Op.EXTFRAG)


@st.composite
def kinds(draw: st.DrawFn, name: str, page_bytes: int, max_order: int) -> Kind:
    """A kind of about 300 blocks a second at most."""
    order = draw(st.sampled_from([0, 0, 1, 2, 3, 4, max_order - 1, max_order]))
    blocks = draw(st.integers(1, 40 >> min(order, 5)) if order < 5 else st.just(1))
    return Kind(
        name,
        rate=draw(st.floats(1, max(300 / blocks / (1 << order // 3), 2))),
        size_bytes=blocks * page_bytes << order,
        size_sigma=draw(st.sampled_from([0.0, 0.5])),
        order=order,
        growth_ns=draw(st.sampled_from([0, 200_000_000])),
        lifetime_ns=draw(st.sampled_from([1, 10_000_000, 300_000_000, 0])),
        ages=draw(st.sampled_from(AGES)),
        type=draw(st.sampled_from(TYPES)),
        wave=draw(st.sampled_from(WAVES)),
        period_ns=500_000_000,
    )


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Guests of every shape, small enough for the plain model, some of them too small for their load."""
    page_bytes, max_order, pageblock_order, frames = draw(st.sampled_from(GUESTS))
    nodes, low = draw(st.sampled_from([1, 1, 2, 3])), draw(st.booleans())
    made = [draw(kinds(name, page_bytes, max_order)) for name in "abc"[: draw(st.integers(1, 3))]]
    return Recipe(
        kinds=tuple(kind for kind in made if kind.size_bytes <= frames * page_bytes),
        memory_bytes=(frames + draw(st.integers(0, 77))) * page_bytes,
        page_bytes=page_bytes,
        max_order=max_order,
        pageblock_order=pageblock_order,
        duration_ns=draw(st.sampled_from([SECOND_NS, 2_300_000_000])),
        warmup_ns=draw(st.sampled_from([0, 400_000_000])),
        seed=draw(st.integers(0, 1 << 40)),
        used=draw(st.sampled_from([0.0, 0.3, 0.9])),
        pinned=draw(st.sampled_from([0.0, 0.4, 1.0])),
        holes=draw(st.sampled_from([0.0, 0.0, 0.3])),
        hole_bytes=draw(st.sampled_from([7, 64])) * page_bytes,
        nodes=nodes,
        zones=(("DMA", 100 * page_bytes),) if low else (),
        cpus=draw(st.integers(1, 5)),
    )


def made(folder: Path, recipe: Recipe, name: str = "a") -> Trace:
    return generate(folder / f"{name}.trace", recipe).trace


def rows(trace: Trace) -> list[tuple[int, ...]]:
    """All events, every column."""
    return trace.events.collect().rows()


def lives(trace: Trace) -> Iterable[tuple[int, int]]:
    """When each block that was taken in the trace came, and when it went (None: not in the trace)."""
    since: dict[int, int] = {}
    for ts_ns, op, pfn in trace.events.select("ts_ns", "op", "pfn").collect().iter_rows():
        if op in TAKING:
            since.setdefault(pfn, ts_ns)
        elif pfn in since:
            yield since.pop(pfn), ts_ns


def states(trace: Trace, name: str) -> dict[int, int]:
    """`FrameState` of each frame of a snapshot."""
    found: dict[int, int] = {}
    for run in trace.frames(name).to_pylist():
        found |= dict.fromkeys(range(run["pfn"], run["pfn"] + run["count"]), run["state"])
    return found
