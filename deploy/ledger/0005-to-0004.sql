-- Takes a ledger of version 0005 back to 0004, on SQLite and on PostgreSQL, with the node stopped.
-- What is lost: the events of series, orders that are not carried out, and what series are found
-- by. No case, result or delivery is touched. See docs/versions.md.
BEGIN;
DROP INDEX deliveries_sent;
DROP TABLE series_events;
DROP TABLE orders;
DROP TABLE series_keys;
UPDATE ledger_version SET version_num = '0004' WHERE version_num = '0005';
COMMIT;
