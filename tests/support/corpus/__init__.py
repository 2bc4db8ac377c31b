"""The corpus of bad input: `cases` has all of it, `sound` what it starts from."""
