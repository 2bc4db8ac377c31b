"""The part of the structured reports that comes from a series."""
