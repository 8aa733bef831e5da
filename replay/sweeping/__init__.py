"""Many settings of one policy over one trace: the grid, the passes, what is kept, the table, the front."""
