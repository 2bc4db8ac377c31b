"""Labelled cases as training data."""
