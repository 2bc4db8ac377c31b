-- Takes a ledger of version 0005 back to 0004, on SQLite and on PostgreSQL, with the node stopped.
-- What is lost: the events of series, all orders, and what series are found by. No series, result
-- or delivery is touched: one that a person has cancelled is stored as refused, without an answer,
-- and is a cancelled one again after the next update. See docs/versions.md.
BEGIN;
DROP INDEX IF EXISTS deliveries_sent;
DROP INDEX IF EXISTS series_received;
DROP INDEX IF EXISTS results_in_own_series;
DROP TABLE series_events;
DROP TABLE orders;
DROP TABLE series_keys;
UPDATE ledger_version SET version_num = '0004' WHERE version_num = '0005';
COMMIT;
