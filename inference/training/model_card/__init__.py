"""The model card: scores, tables and pictures."""
