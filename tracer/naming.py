"""Names of outputs that nobody named: beside the input, after it, with what was done to it."""

from pathlib import Path

from tracer.faults import Fault

STDIN = "-"


def trace_after(trace: Path, *done: str) -> Path:
    """`A.trace` with `archive` done to it: `A-archive.trace`, in the same folder."""
    whole = trace if trace.name not in {"", ".."} else trace.resolve()
    words = ("".join(word.split()) for word in done)
    return whole.with_name("-".join([whole.name.removesuffix(".trace"), *words]) + ".trace")


def trace_of_file(file: str) -> Path:
    """`perf.data` or `trace.txt.gz` imported: `perf.trace`, `trace.trace`.

    Raises:
        Fault: when it comes on stdin, which has no name, or names no file.
    """
    path = Path(file)
    if file == STDIN or path.name in {"", ".."}:
        how = "stdin has none to make one of" if file == STDIN else "FILE has none to make one of"
        raise Fault("the trace has no name", how, "add -o OUT.trace")
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    return plain.with_suffix(".trace")
