"""What runs in the kernel, and how its events come out."""
