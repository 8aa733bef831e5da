"""Offline: a trace replayed through the buddy and a reporting policy, measured and explained."""
