"""Traces from what people already have: the text of perf and ftrace."""
