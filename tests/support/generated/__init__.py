"""Pages of the docs that are written from the code; a test compares them with what stands there."""
