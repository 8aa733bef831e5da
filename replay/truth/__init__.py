"""Predicted reports held against those that a hypervisor really got: `docs/truth.md`."""
