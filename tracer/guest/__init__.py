"""What /proc and /sys say of the guest: its zones, its frames, its free lists, second by second."""
