"""Thousands of scans from disk: resumable, reading and writing beside the network."""
