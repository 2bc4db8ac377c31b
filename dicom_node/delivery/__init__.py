"""Delivery of results: who gets what, and whether it arrived."""
