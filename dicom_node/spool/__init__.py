"""Received instances on disk, until their series is complete."""
