"""What the structured reports need of a series."""
