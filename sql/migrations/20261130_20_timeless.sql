-- events without a time of their own are judged by when they were received, not by when the journal was there again
-- depends: 20261126_03_reading

-- migrate: apply

-- Each reception that was taken for an event of its own. What is received within the window around one is a repetition,
-- whatever the order in which the two come to the journal: after an outage that is the order of the spools.
ALTER TABLE dedupe DROP CONSTRAINT dedupe_pkey;
ALTER TABLE dedupe ADD PRIMARY KEY (tenant, source, event_id, seen_at);

-- A row is kept for some time after it was written: what a spool has held for long may be told once more then.
ALTER TABLE dedupe ADD COLUMN noted_at timestamptz NOT NULL DEFAULT now();
DROP INDEX dedupe_by_age;
CREATE INDEX dedupe_by_age ON dedupe (noted_at);

-- migrate: rollback

DROP INDEX dedupe_by_age;
ALTER TABLE dedupe DROP COLUMN noted_at;
DELETE FROM dedupe d USING dedupe newer
WHERE (d.tenant, d.source, d.event_id) = (newer.tenant, newer.source, newer.event_id) AND d.seen_at < newer.seen_at;
ALTER TABLE dedupe DROP CONSTRAINT dedupe_pkey;
ALTER TABLE dedupe ADD PRIMARY KEY (tenant, source, event_id);
CREATE INDEX dedupe_by_age ON dedupe (seen_at);
