"""A cohort: every case as a record, the table of results, norms, and the report of many."""
