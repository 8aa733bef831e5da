"""The allocator model: what an op means, which frames are free, which blocks are on which list."""
