"""Traces of real guests, the programs that were recorded, and the command that records them again."""
