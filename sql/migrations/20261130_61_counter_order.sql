-- in which order counters were first seen: it says which places have series of their own in Prometheus
-- depends: 20261126_03_reading

-- migrate: apply

ALTER TABLE counters ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;

-- migrate: rollback

ALTER TABLE counters DROP COLUMN number;
