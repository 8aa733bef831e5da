"""The command `pagetide generate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracer import Fault, duration_ns, human_bytes, size_bytes, words_offered

if TYPE_CHECKING:
    from replay.generating.recipe import Recipe
    from replay.generating.writing import Generated


def generate(
    out: Annotated[
        Path | None,
        typer.Argument(metavar="[OUT.trace]", help="The new trace; here, steady-1.trace, say (PRESET-SEED)."),
    ] = None,
    *,
    preset: Annotated[
        str,
        typer.Option(
            help="What comes and goes: steady, waves, churn, leak, burst; none: only --kind's.",
            autocompletion=words_offered("steady", "waves", "churn", "leak", "burst", "none"),
        ),
    ] = "steady",
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:key=value,...",
            help="Change a kind of objects of the preset, or add one: rate, size, size-sigma, order, "
            "growth, lifetime, ages, age-sigma, type, wave, period, duty; may be repeated.",
        ),
    ] = None,
    memory: Annotated[str, typer.Option(help="Of the whole guest.")] = "16GiB",
    page_size: Annotated[str, typer.Option(help="4KiB, 16KiB or 64KiB; others need both orders.")] = "4KiB",
    duration: Annotated[str | None, typer.Option(help="Of the trace. Default: the preset's.")] = None,
    warmup: Annotated[
        str | None, typer.Option(help="What comes and goes before the trace begins. Default: the preset's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another trace of the same kind.")] = 1,
    used: Annotated[
        float, typer.Option(metavar="SHARE", help="In use all the time, in whole pageblocks.")
    ] = 0.2,
    pinned: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Of the other pageblocks: one page is in use all the time."),
    ] = 0.0,
    holes: Annotated[
        float, typer.Option(metavar="SHARE", help="Of each zone's span: no memory there.")
    ] = 0.0,
    hole_size: Annotated[str, typer.Option(help="Of one hole.")] = "128MiB",
    nodes: Annotated[int, typer.Option(help="NUMA nodes of equal size.")] = 1,
    zone: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=SIZE", help="A zone below Normal, like DMA32=3GiB; may be repeated."),
    ] = None,
    cpus: Annotated[int, typer.Option(help="CPUs, on which objects come and go.")] = 4,
    max_order: Annotated[int | None, typer.Option(help="Default: a kernel's with such pages.")] = None,
    pageblock_order: Annotated[int | None, typer.Option(help="Likewise.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing trace.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout, nothing else there.")
    ] = False,
) -> None:
    """Make a synthetic trace of a guest that never ran (docs/synthetic.md)."""
    from replay.generating.presets import preset as named

    asked: dict[str, Any] = {
        "memory_bytes": size_bytes(memory),
        "page_bytes": size_bytes(page_size),
        "hole_bytes": size_bytes(hole_size),
        "zones": tuple(_zone(text) for text in zone or []),
    }
    asked |= {"seed": seed, "used": used, "pinned": pinned, "holes": holes, "nodes": nodes, "cpus": cpus}
    asked |= {"max_order": max_order, "pageblock_order": pageblock_order}
    times = {"duration_ns": duration, "warmup_ns": warmup}
    asked |= {name: duration_ns(text) for name, text in times.items() if text is not None}
    _make(out or Path(f"{preset}-{seed}.trace"), named(preset, kind, **asked), force=force, as_json=as_json)


def _zone(text: str) -> tuple[str, int]:
    name, equals, size = text.partition("=")
    if not equals:
        raise Fault(f"--zone {text} is not possible", "it is not NAME=SIZE", "write --zone DMA32=3GiB")
    return name, size_bytes(size)


def _make(out: Path, recipe: "Recipe", *, force: bool, as_json: bool) -> None:
    from tracer import check_output

    check_output(out, force=force)  # before anything is compiled or loaded
    from replay.cli import emit, warn
    from replay.generating.writing import generate as make
    from replay.progress import progress

    with progress(recipe.events_expected, "generating") as under_way:
        done = make(out, recipe, force=force, tell=under_way.tell)
    if as_json:
        emit(_answer(out, recipe, done))
    else:
        _print(out, done)
    for note in done.notes:
        warn(note)


def _answer(out: Path, recipe: "Recipe", done: "Generated") -> dict[str, Any]:
    first_ns, last_ns = done.trace.span_ns
    return {
        "trace": str(out),
        "command_line": recipe.command_line,
        "seed": recipe.seed,
        "events": done.trace.rows,
        "duration_s": (last_ns - first_ns) / 1e9,
        "size_bytes": done.trace.size_bytes,
        "kinds": [vars(each) for each in done.made],
        "given_up": done.given_up,
        "late_s": done.late_ns / 1e9,
        "notes": done.notes,
    }


def _print(out: Path, done: "Generated") -> None:
    first_ns, last_ns = done.trace.span_ns
    told = f"{done.trace.rows:,} events over {(last_ns - first_ns) / 1e9:.1f} s"
    print(f"wrote {out}: {told}, {human_bytes(done.trace.size_bytes)}; synthetic, seed {done.seed}")
    for each in done.made:
        lost = f", {each.given_up:,} given up" if each.given_up else ""
        print(f"  {each.name}: {each.objects:,} objects, {each.blocks:,} blocks{lost}")
