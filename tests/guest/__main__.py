"""`python -m tests.guest [--kernel SERIES] [--out DIR] -- COMMAND…`: run a command in a stock guest."""

import argparse
import signal
import sys
from pathlib import Path

from tests.guest import stock
from tests.guest.machine import MachineFailed, missing, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.guest", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("guest-out"), help="the folder it may write to")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for the command")
    parser.add_argument("--memory", type=int, default=2048, help="MiB")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--kernel", default=stock.SERIES, help="its series, such as 5.10, 6.12, 7.0")
    parser.add_argument("--append", default="", help="more of the kernel's command line")
    parser.add_argument("command", nargs="+", help="and its arguments, after --")
    options = parser.parse_args()
    reason = missing(options.kernel)
    if reason:
        print(f"no guest here: {reason}", file=sys.stderr)
        return 2
    # So that `with` cleans up after a SIGTERM as it does after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        done = run(
            options.command,
            files_out=options.out,
            timeout_s=options.timeout,
            memory_mib=options.memory,
            cpus=options.cpus,
            append=options.append,
            kernel=options.kernel,
        )
    except MachineFailed as failure:
        print(failure, file=sys.stderr)
        return 124
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
