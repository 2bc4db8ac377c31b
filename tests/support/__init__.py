"""Builders, peers and processes that several tests share."""
