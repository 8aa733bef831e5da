"""The command `pagetide`: a table from verb to function, imported only when called.

The one place that names both halves of the project.
"""

import io
import os
import sys
from importlib import import_module

import typer

from tracer.faults import ExitCode, Fault

# verb -> (module, function, the line in `pagetide --help`)
VERBS = {
    "doctor": (
        "tracer.cli",
        "doctor",
        "Say what this guest allows and how to fix what it does not.",
    ),
    "record": ("tracer.cli", "record", "Record page alloc/free events of this live guest."),
    "convert": ("tracer.cli", "convert", "Rewrite a trace to be small, or fast to replay."),
    "import": ("tracer.importers.cli", "import_", "Make a trace of what perf or ftrace recorded."),
    "generate": ("replay.generating.cli", "generate", "Make a synthetic trace of a guest that never ran."),
    "info": ("tracer.cli", "info", "Say what a trace contains and what is missing from it."),
    "policies": ("replay.cli", "policies", "List the reporting policies and their parameters."),
    "replay": ("replay.cli", "replay", "Replay a trace under reporting policies."),
    "sweep": ("replay.sweeping.cli", "sweep", "Replay a policy under every combination of its parameters."),
    "report": ("replay.report.cli", "report", "Make an HTML page of a trace, or of a replay's results."),
    "batch": ("replay.batching.cli", "batch", "Replay many traces into one dataset of results."),
    "slice": ("replay.cli", "slice_", "Cut a span out of a trace, as a trace of its own."),
    "validate": ("replay.cli", "validate", "Compare the model with what the kernel said."),
}


def build_app(wanted: str | None) -> typer.Typer:
    """The command line with only `wanted`'s module imported."""
    app = typer.Typer(
        name="pagetide",
        help="Record page alloc/free events of a live guest; replay them under any reporting policy.",
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for verb, (module, function, summary) in VERBS.items():
        if verb == wanted:
            app.command(verb)(getattr(import_module(module), function))
        else:
            app.command(verb, help=summary)(_not_called)
    app.callback()(_version)
    return app


def _not_called() -> None:
    """Stand in for a verb that is only listed."""


def _print_version(*, value: bool) -> None:
    if value:
        from tracer import __version__

        print(f"pagetide {__version__}")
        raise typer.Exit


def _version(
    *,
    version: bool = typer.Option(
        False,
        "--version",
        callback=lambda value: _print_version(value=value),
        is_eager=True,
        help="Print the version.",
    ),
) -> None:
    """Take the options that come before a verb."""


def run(argv: list[str]) -> int:
    """Run one command line; returns its exit code. A fault is three lines on stderr, no traceback."""
    wanted = next((word for word in argv or _typed() if word in VERBS), None)
    try:
        code = build_app(wanted)(argv or ["--help"], prog_name="pagetide", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except Fault as fault:
        print(f"pagetide: {fault}", file=sys.stderr)
        return int(getattr(fault, "exit_status", fault.code))
    except typer.TyperException as error:
        print(f"pagetide: {_usage_fault(error, wanted)}", file=sys.stderr)
        return ExitCode.USAGE
    except (BrokenPipeError, SystemExit) as stop:
        return _stopped(stop)
    except OSError as error:
        _leave_stdout()
        how = f"{error.strerror} (errno {error.errno})"
        blocked = Fault("the output cannot be written", how, "look at where it goes", ExitCode.ENVIRONMENT)
        print(f"pagetide: {blocked}", file=sys.stderr)
        return ExitCode.ENVIRONMENT
    if code == INTERRUPTED:
        print("pagetide: interrupted", file=sys.stderr)
    return int(code or ExitCode.DONE)


def _typed() -> list[str]:
    """What a shell that asks for completion says is on its line so far."""
    if "_PAGETIDE_COMPLETE" not in os.environ:
        return []
    return [
        word for name in ("COMP_WORDS", "_TYPER_COMPLETE_ARGS") for word in os.environ.get(name, "").split()
    ]


INTERRUPTED = 130  # what a shell says of Ctrl-C, and Typer returns


def _usage_fault(error: typer.TyperException, wanted: str | None) -> Fault:
    """A command line that Typer refuses, in the form of all faults."""
    message = getattr(error, "format_message", lambda: str(error))()
    what = " ".join(message.split()).rstrip(".")
    command = "pagetide " + wanted if wanted else "pagetide"
    return Fault(
        what[:1].lower() + what[1:], f"the command line of `{command}` says otherwise", f"{command} --help"
    )


def _leave_stdout() -> None:
    """Keep Python from complaining about stdout when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stopped(stop: BaseException) -> int:
    """An exit from inside Typer. A reader that left our output (`| head`) is no fault."""
    if isinstance(stop, BrokenPipeError) or isinstance(stop.__context__, BrokenPipeError):
        _leave_stdout()
        return ExitCode.DONE
    code = getattr(stop, "code", ExitCode.USAGE)
    return code if isinstance(code, int) else ExitCode.USAGE


def main() -> None:
    """Entry point."""
    _fill_standard_files()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that its encoding has no letters for
    sys.exit(run(sys.argv[1:]))


def _fill_standard_files() -> None:
    """Whoever closed one of them (2>&-) gets nothing there, and no other file takes its place."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - for the whole process
