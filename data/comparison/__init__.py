"""Every policy on every trace: what is replayed, the table of it, and what pages say of the table."""
