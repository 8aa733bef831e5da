"""Synthetic traces: a guest that never ran, played by the allocator's rules and written as a trace."""
