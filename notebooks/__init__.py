"""Notebooks: Pagetide's questions answered on real traces, step by step."""
