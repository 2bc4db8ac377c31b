"""What survives: database, ledger, leases, and the durable job queue."""
