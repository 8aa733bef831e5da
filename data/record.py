"""Record traces of the corpus again: python -m data.record NAME… [--out FOLDER].

Installs what a workload needs (Debian packages as root, PyPI's into `.corpus/venv`), makes its inputs,
records this machine while it runs, packs the trace for archive, and writes FOLDER/NAME.trace and its card.
Needs root, eBPF, some GiB of memory and disk, and a machine on which nothing else runs: everything is in the
trace. Without --out what is shipped in `data/` is replaced. Ends with 1 where a trace is not fit to be
shipped, and says why; with 2 where a step failed.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import PAGETIDE, REPO
from data import cards
from data.workloads import NAMES, Workload, load

MADE = REPO / ".corpus"
PYTHON = MADE / "venv" / "bin" / "python"
SETTLE = "10s"


def run(*argv: str | Path) -> None:
    """A command that must succeed, from the repository's folder."""
    subprocess.run(argv, check=True, cwd=REPO)


def is_installed(package: str) -> bool:
    """A Debian package, whole?"""
    asked = ["dpkg-query", "-W", "-f", "${Status}", package]
    return "ok installed" in subprocess.run(asked, capture_output=True, text=True, check=False).stdout


def install(workload: Workload) -> None:
    """What it needs; nothing is started that a Debian package would start."""
    if missing := [package for package in workload.debian if not is_installed(package)]:
        apt = ("env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq")
        run(*apt, "update")
        run(*apt, "install", "-y", "--no-install-recommends", *missing)
    if not PYTHON.exists():
        run(sys.executable, "-m", "venv", PYTHON.parent.parent)
    if workload.pypi:
        run(PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", *workload.pypi)


def record_here(workload: Workload, folder: Path, trace: Path) -> None:
    """Record this machine while the workload runs."""
    step: list[str | Path] = [PYTHON, "-m", "data.workloads"]
    run(*step, "prepare", workload.name, folder)
    options = ["--layer", workload.layer, "--settle", SETTLE]
    run(*PAGETIDE, "record", trace, *options, "--", *step, "run", workload.name, folder)


def record(workload: Workload, out: Path) -> cards.Card:
    """Make OUT/NAME.trace, and what else lies beside it; its card."""
    MADE.mkdir(exist_ok=True)
    if not workload.record:
        install(workload)
    with tempfile.TemporaryDirectory(dir=MADE, prefix=f"{workload.name}-") as made:
        folder, raw = Path(made), Path(made, f"{workload.name}.trace")
        folder.chmod(0o755)  # a workload may have a user of its own
        if workload.record:
            workload.record(folder)
        else:
            (folder / "work").mkdir()
            record_here(workload, folder / "work", raw)
        for beside in folder.glob(f"{workload.name}.*.parquet"):
            shutil.move(beside, out / beside.name)
        trace = out / raw.name
        run(*PAGETIDE, "convert", raw, trace, "--for", "archive", "--force")
    return cards.measured(workload, trace)


def main() -> int:
    """One after the other; each is put in place before the next begins."""
    parser = argparse.ArgumentParser(prog="python -m data.record", description=__doc__)
    parser.add_argument("names", nargs="+", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--out", type=Path, default=cards.HERE, help="default: data/, where they are shipped")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    unfit = 0
    for name in asked.names:
        try:
            card = record(load(name), asked.out)
        except subprocess.CalledProcessError as failed:  # it has said why
            argv = shlex.join(map(str, failed.cmd))
            print(f"{name} was not recorded: {argv} ended with {failed.returncode}", file=sys.stderr)
            return 2
        cards.write(card, asked.out / "cards")
        verdict = "; ".join([*card.faults, *card.blemishes]) or "fit"
        print(f"{asked.out / name}.trace: {card.events:,} events, {verdict}", flush=True)
        unfit += bool(card.faults)
    if asked.out == cards.HERE:
        cards.rewrite_page()
    return 1 if unfit else 0


if __name__ == "__main__":
    sys.exit(main())
