"""The policies by name."""
