"""Data that survives a restart: database, ledger, leases, and the durable job queue."""
