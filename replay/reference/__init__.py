"""The command reference, as the command line itself tells it: a page of docs, a man page, completions."""
