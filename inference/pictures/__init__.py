"""Pictures of a case, for people."""
