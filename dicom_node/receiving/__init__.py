"""Receiving: from the socket to the spool."""
