"""Synthetic CT from label maps."""
