"""What recording costs, each figure beside its peer in interleaved rounds of one run.

Usage: python -m benchmarks.recording [ROUNDS [SECONDS]]: rounds (7), and seconds of the long run in
which both CPUs produce events (60). Needs root, eBPF and perf. Prints a Markdown table; these are
measurements, not tests.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import PAGETIDE, REPO, machine, machine_line, spread

EVENTS_PER_PAGE = 2
LOOP_S = 3.0


def loop(seconds: float) -> list[str]:
    """Command line of the page-fault loop."""
    return [sys.executable, "-m", "benchmarks.faults", str(seconds)]


def run(*argv: object) -> str:
    """Run to its end; what it printed."""
    done = subprocess.run(list(map(str, argv)), cwd=REPO, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        sys.exit(f"{argv}: {done.stderr}")
    return done.stdout


def ns_a_page(out: str) -> float:
    """CPU of the loop, as it printed it last: by the clock, what else the machine does would count."""
    return float(next(line for line in reversed(out.splitlines()) if line[:1].isdigit()).split()[2])


class Folder:
    """Recordings of one round; sizes are read before they go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_an_event: dict[str, list[float]] = {}

    def alone(self) -> float:
        """The loop alone."""
        return ns_a_page(run(*loop(LOOP_S)))

    def pagetide(self, layer: str) -> float:
        """The loop while pagetide records it."""
        out = self.path / f"{layer}.trace"
        said = run(*PAGETIDE, "record", out, "--force", "--layer", layer, "--", *loop(LOOP_S))
        manifest = json.loads((out / "manifest.json").read_text())
        events = sum(probe["kept"] for probe in manifest["probes"])
        size = sum(file.stat().st_size for file in (out / "events").iterdir())
        self.bytes_an_event.setdefault(layer, []).append(size / max(events, 1))
        return ns_a_page(said)

    def perf(self) -> float:
        """The loop while perf records the same two tracepoints, system-wide like pagetide."""
        out = self.path / "perf.data"
        events = ["-e", "kmem:mm_page_alloc", "-e", "kmem:mm_page_free"]
        said = run("perf", "record", "-q", "-a", *events, "-o", out, "--", *loop(LOOP_S))
        stats = run("perf", "report", "-i", out, "--stats")
        count = int(re.findall(r"SAMPLE events:\s+(\d+)", stats)[0])
        self.bytes_an_event.setdefault("perf", []).append(out.stat().st_size / count)
        out.unlink()
        return ns_a_page(said)


def row(what: str, ours: str, peer: str, theirs: str, ratio: str, goal: str) -> None:
    """One row of the table."""
    print(f"| {what} | {ours} | {peer} | {theirs} | {ratio} | {goal} |", flush=True)


def overhead(rounds: int) -> None:
    """Added cost per event of the frame layer beside perf's; slow-down of the buddy layer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Folder(Path(name))
        kinds: dict[str, Callable[[], float]] = {
            "alone": folder.alone,
            "buddy": lambda: folder.pagetide("buddy"),
            "frame": lambda: folder.pagetide("frame"),
            "perf": folder.perf,
        }
        took: dict[str, list[float]] = {kind: [] for kind in kinds}
        for number in range(rounds):
            order = list(kinds) if number % 2 == 0 else list(reversed(kinds))
            for kind in order:
                took[kind].append(kinds[kind]())
        sizes = folder.bytes_an_event
    slow = [b / a for a, b in zip(took["alone"], took["buddy"], strict=True)]
    row(
        "page-fault loop, buddy layer",
        f"{statistics.median(took['buddy']):.0f} ns of CPU a page",
        "the loop alone",
        f"{statistics.median(took['alone']):.0f} ns of CPU a page",
        spread(slow),
        "<= 1.02",
    )
    added = {
        kind: [(b - a) / EVENTS_PER_PAGE for a, b in zip(took["alone"], took[kind], strict=True)]
        for kind in ("frame", "perf")
    }
    row(
        "page-fault loop, frame layer: added CPU an event",
        f"{statistics.median(added['frame']):.0f} ns",
        "perf record, same two tracepoints",
        f"{statistics.median(added['perf']):.0f} ns",
        spread([a / b for a, b in zip(added["frame"], added["perf"], strict=True)]),
        "<= 0.35",
    )
    row(
        "page-fault loop, frame layer: size an event",
        f"{statistics.median(sizes['frame']):.2f} B",
        "perf.data",
        f"{statistics.median(sizes['perf']):.1f} B",
        spread([a / b for a, b in zip(sizes["frame"], sizes["perf"], strict=True)]),
        "<= 1.5 B, 1/20",
    )


def draining(rounds: int) -> None:
    """CPU of taking events out of the ring, beside BCC's own callback loop."""
    ours = [drain_cpu_ns() for _ in range(rounds)]
    theirs = [callback_cpu_ns() for _ in range(rounds)]
    row(
        "draining, CPU an event",
        f"{statistics.median(ours):.0f} ns",
        "BCC's ring-buffer callback",
        f"{statistics.median(theirs):.0f} ns",
        spread([a / b for a, b in zip(ours, theirs, strict=True)]),
        f"<= {1 / 15:.3f}",
    )


def drain_cpu_ns() -> float:
    """CPU of draining a million events into blocks, per event."""
    from tracer.probes.attachment import Wanted
    from tracer.probes.kernel import KernelProbes
    from tracer.recording.blocks import Blocks
    from tracer.recording.drainer import Drainer

    probes, blocks = KernelProbes(Wanted("frame")), Blocks()
    drainer = Drainer(probes, blocks, lambda block, _rows: blocks.give(block), time.monotonic_ns())
    for _ in range(8):
        subprocess.run(loop(0.1), cwd=REPO, check=True, capture_output=True)
    begin, before = time.thread_time_ns(), drainer.events
    drainer.turn()
    took = time.thread_time_ns() - begin
    probes.detach()
    probes.close()
    return took / (drainer.events - before)


CALLBACK = """
import subprocess, sys, time
sys.path.append("/usr/lib/python3/dist-packages")
from tracer.probes import library
from tracer.probes.attachment import header_tree
from tracer.probes.points import TRACEPOINTS, LAYERS, chosen
from tracer.probes.program import Options, source
bcc = library.load()
with header_tree():
    points = [p for p in chosen(LAYERS["frame"])]
    bpf = bcc.BPF(text=source(points, Options(64 << 20, 64, 4096)).encode())
table = bpf[b"pages"]
table[0] = table.Leaf(0, 1, 0, 1)
seen = 0
def callback(_context, data, size):
    global seen
    seen += 1
bpf[b"events"].open_ring_buffer(callback)
for _ in range(8):
    subprocess.run([sys.executable, "-m", "benchmarks.faults", "0.1"], check=True, capture_output=True)
begin = time.thread_time_ns()
bpf.ring_buffer_consume()
print((time.thread_time_ns() - begin) / seen)
"""


def callback_cpu_ns() -> float:
    """The same through BCC's Python callback, in a process of its own."""
    return float(run(sys.executable, "-c", CALLBACK))


def keeping_up(seconds: float) -> None:
    """Both CPUs produce frame-layer events as fast as they can."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "long.trace"
        loops = " & ".join(" ".join(loop(seconds)) for _ in range(os.cpu_count() or 1))
        record = [*PAGETIDE, "record", str(out), "--layer", "frame", "--json", "--allow-loss", "--"]
        process = subprocess.Popen(
            [*record, "sh", "-c", f"{loops} & wait"],
            cwd=REPO,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        rss = watched_rss_mib(process)
        said = json.loads(process.communicate()[0])
    events, size = said["events"], said["size_bytes"]
    what = f"{os.cpu_count()} loops for {seconds:.0f} s, frame layer, 64 MiB ring"
    row(f"{what}: lost", f"{said['lost']:,} of {events:,}", "", "", "", "0")
    row(
        f"{what}: rate",
        f"{events / seconds / 1e6:.2f} M events/s",
        "",
        "",
        f"{size / events:.2f} B an event",
        "",
    )
    row(f"{what}: RSS", f"{max(rss):.0f} MiB at most", "", "", growth(rss), "<= 250 MiB, < 5 %")


def watched_rss_mib(process: subprocess.Popen[bytes]) -> list[float]:
    """RSS each second until it ends."""
    seen: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            try:
                text = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            lines = [line for line in text.splitlines() if line.startswith("VmRSS")]
            seen.extend(int(line.split()[1]) / 1024 for line in lines)

    thread = threading.Thread(target=watch)
    thread.start()
    while process.poll() is None:
        time.sleep(0.2)
    done.set()
    thread.join()
    return seen


def growth(rss: list[float]) -> str:
    """Change from the first minute's end to the last minute, where there are two."""
    if len(rss) < 120:
        return "too short to tell growth"
    return f"{statistics.median(rss[-60:]) / statistics.median(rss[50:70]) - 1:+.1%} from minute 1 on"


def mixed() -> None:
    """Size on a workload of programs and buffers, buddy layer."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "mixed.trace"
        work = [sys.executable, "-m", "benchmarks.workload", "20"]
        for layer in ("buddy", "both"):
            said = json.loads(
                run(
                    *PAGETIDE,
                    "record",
                    out,
                    "--force",
                    "--layer",
                    layer,
                    "--json",
                    "--allow-loss",
                    "--",
                    *work,
                )
            )
            size, events = said["size_bytes"], said["events"]
            row(
                f"mixed workload, {layer} layer(s): size",
                f"{size / events:.2f} B an event",
                "",
                "",
                "",
                "<= 4 B",
            )


def main(rounds: int, seconds: float) -> None:
    """All measurements of the recorder."""
    from tracer.doctor import examine, ready

    if not ready(examine()) or not shutil.which("perf"):
        sys.exit("this machine cannot be recorded, or has no perf: pagetide doctor")
    print(f"{machine_line(machine())}; {rounds} interleaved rounds, medians (spread)\n")
    print("| what | pagetide | beside | peer | ratio | goal |")
    print("| --- | --- | --- | --- | --- | --- |")
    overhead(rounds)
    draining(min(rounds, 3))
    mixed()
    keeping_up(seconds)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7, float(sys.argv[2]) if len(sys.argv) > 2 else 60)
