-- the journal: what was said, once; and what waits to be projected
-- depends:

-- migrate: apply

-- One row per event, never changed. Partitioned by the event's own time, which the payload fixes, so that the
-- same delivery meets the same unique key whenever it comes. The time comes early in the key: new events go to
-- the right edge of the index, and appending costs the same however long the history is.
CREATE TABLE journal (
    tenant      text        NOT NULL,
    source      text        NOT NULL,
    at          timestamptz NOT NULL,
    event_id    text        NOT NULL,
    call_id     text        NOT NULL,
    kind        text        NOT NULL,
    received_at timestamptz NOT NULL,
    body        json        NOT NULL,
    PRIMARY KEY (tenant, source, at, event_id)
) PARTITION BY RANGE (at);

CREATE INDEX journal_by_call ON journal (tenant, source, call_id);

-- Events without a time of their own are told apart from repetitions by this table, for a bounded window.
CREATE TABLE dedupe (
    tenant   text        NOT NULL,
    source   text        NOT NULL,
    event_id text        NOT NULL,
    seen_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, source, event_id)
);

CREATE INDEX dedupe_by_age ON dedupe (seen_at);

-- One row per group of appended events: the calls that have to be folded again. Written in the transaction of
-- the append, deleted in the transaction of the projection: a crash between the two leaves it here.
CREATE TABLE pending (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    journalled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    tenants       text[]      NOT NULL,
    sources       text[]      NOT NULL,
    call_ids      text[]      NOT NULL,
    first_at      timestamptz[] NOT NULL,
    last_at       timestamptz[] NOT NULL
);

-- Payloads that authenticated but could not be understood, until a fix lets them be replayed.
CREATE TABLE rejected (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant      text        NOT NULL,
    source      text        NOT NULL,
    digest      text        NOT NULL,
    received_at timestamptz NOT NULL,
    media_type  text        NOT NULL,
    payload     bytea       NOT NULL,
    reason      text        NOT NULL,
    replayed_at timestamptz,
    UNIQUE (tenant, source, digest)
);

-- Partitions are months in UTC, made when the first event of a month comes. They are made apart and attached, which
-- unlike CREATE … PARTITION OF does not wait for, or hold up, those who read and write the table meanwhile.
CREATE FUNCTION ensure_partition(parent text, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    month date := date_trunc('month', at AT TIME ZONE 'UTC')::date;
    child text := parent || to_char(month, '"_"YYYY"_"MM');
BEGIN
    IF to_regclass(child) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('callkpi.partition'), hashtext(parent));
    IF to_regclass(child) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format(
        'CREATE TABLE %I (LIKE %I INCLUDING ALL) WITH (fillfactor = %s)',
        child, parent, CASE parent WHEN 'journal' THEN 100 ELSE 60 END
    );
    EXECUTE format(
        'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        parent, child, month::timestamp AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC'
    );
END $$;

-- migrate: rollback

DROP FUNCTION ensure_partition(text, timestamptz);
DROP TABLE rejected;
DROP TABLE pending;
DROP TABLE dedupe;
DROP TABLE journal;
