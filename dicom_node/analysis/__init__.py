"""The analysis of one series, in a child process that may be killed."""
