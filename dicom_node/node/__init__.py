"""The running node: its processes, and what happens to a series."""
