-- one index of the journal instead of two: its key finds a call's events as well
-- depends: 20261123_02_calls

-- migrate: apply

-- With the call before the time, the key serves look-ups by call too. New events go to the pages of the calls that go
-- on now, which are in memory, so appending still costs the same however long the history is.
ALTER TABLE journal DROP CONSTRAINT journal_pkey;
ALTER TABLE journal ADD PRIMARY KEY (tenant, source, call_id, at, event_id);
DROP INDEX journal_by_call;

-- migrate: rollback

ALTER TABLE journal DROP CONSTRAINT journal_pkey;
ALTER TABLE journal ADD PRIMARY KEY (tenant, source, at, event_id);
CREATE INDEX journal_by_call ON journal (tenant, source, call_id);
