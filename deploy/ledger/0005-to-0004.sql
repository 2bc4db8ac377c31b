-- Takes a ledger of version 0005 back to 0004, on SQLite and on PostgreSQL, with the node stopped.
-- What is lost: the events of series, orders that are not carried out, and what series are found
-- by. A series that a person has cancelled becomes one that is left out: nothing is sent for it.
-- No result or delivery is touched. See docs/versions.md.
BEGIN;
DROP INDEX IF EXISTS deliveries_sent;
DROP INDEX IF EXISTS series_received;
DROP INDEX IF EXISTS results_in_own_series;
DROP TABLE series_events;
DROP TABLE orders;
DROP TABLE series_keys;
UPDATE series SET state = 'left out', code = 'against-rules' WHERE state = 'cancelled';
UPDATE ledger_version SET version_num = '0004' WHERE version_num = '0005';
COMMIT;
