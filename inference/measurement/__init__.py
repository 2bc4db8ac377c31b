"""Numbers of structures, and their range over the samples."""
