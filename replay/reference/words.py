"""What is true of the whole command, for the pages: exit codes, variables, names, completion."""

from replay.reference.walk import Entry

SUMMARY = "record page alloc/free events of a live guest; replay them under any reporting policy"
_UNITS = "Durations and sizes have a unit: 100ms, 2s, 30m, 64MiB. A trace is a folder NAME.trace."
_NAMES = (
    "What is written goes where OUT or -o says. Where no name is given, convert, slice and import make one, "
    "beside what they read, and generate makes one in the current folder; replay and sweep write nothing. "
    "Nothing is overwritten without --force, and each says what it wrote and how large it is."
)
_OUTPUT = (
    "With --json one object goes to stdout, and nothing else; warnings and progress go to stderr. A fault "
    "is three lines on stderr: what, how we know, what to do."
)
WORDS = (_UNITS, _NAMES, _OUTPUT)
EXIT_CODES = (
    Entry("0", "Done."),
    Entry("1", "Wrong use, or wrong input."),
    Entry("2", "This machine does not allow it."),
    Entry("3", "Done, but the trace is lossy, recovered or partly unreadable, and there is no --allow-loss."),
    Entry("other", "record: COMMAND's own exit code, 127 if there is no such command, 128+n for signal n."),
)
VARIABLES = (
    Entry("NO_COLOR", "Set to anything: no colours. There are none either where stdout is no terminal."),
    Entry("COLUMNS", "How wide tables are where stdout is a terminal; elsewhere they have 80 columns."),
    Entry("PAGETIDE_RUNG", "tracepoints, kprobes or fentry: record and doctor look no further than that."),
)
SHELLS = {
    "bash": 'eval "$(_PAGETIDE_COMPLETE=source_bash pagetide)"',
    "zsh": 'eval "$(_PAGETIDE_COMPLETE=source_zsh pagetide)"',
    "fish": "_PAGETIDE_COMPLETE=source_fish pagetide | source",
}
COMPLETION = (
    "Tab completes verbs, options, traces, and policies behind --policy. pagetide --install-completion "
    "sets it up for the shell it is called from; by hand, a line in the shell's own start file does:"
)
