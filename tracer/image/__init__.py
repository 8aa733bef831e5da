"""What the running kernel tells of itself: its types, its symbols, its memory."""
