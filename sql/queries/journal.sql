-- name: append
-- Append a group of events and remember which calls they touch, in one statement and so in one transaction. $9 says
-- whether they count for Prometheus: history does not.
-- Returns how many were new per source. Served by the primary key.
WITH added AS (
    INSERT INTO journal (tenant, source, at, event_id, call_id, kind, received_at, body)
    SELECT * FROM unnest(
        $1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::json[]
    )
    ON CONFLICT DO NOTHING
    RETURNING tenant, source, call_id, at
), touched AS (
    SELECT tenant, source, call_id, min(at) AS first_at, max(at) AS last_at, count(*) AS events
    FROM added GROUP BY tenant, source, call_id
), queued AS (
    INSERT INTO pending (tenants, sources, call_ids, first_at, last_at, counted)
    SELECT array_agg(tenant), array_agg(source), array_agg(call_id), array_agg(first_at), array_agg(last_at), $9
    FROM touched HAVING count(*) > 0
)
SELECT source, sum(events)::bigint AS added FROM touched GROUP BY source;

-- name: lock_timeless
-- One process at a time says of a source's events without a time which are repetitions; until the transaction's end.
SELECT pg_advisory_xact_lock(hashtext('callkpi.timeless'), hashtext($1));

-- name: timeless_seen
-- When events of these names were received before, within the window around now's receptions. Served by the primary
-- key.
SELECT DISTINCT d.tenant, d.source, d.event_id, d.seen_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS i (tenant, source, event_id, received_at)
JOIN dedupe d ON (d.tenant, d.source, d.event_id) = (i.tenant, i.source, i.event_id)
    AND d.seen_at BETWEEN i.received_at - $5::interval AND i.received_at + $5::interval;

-- name: note_timeless
-- Receptions that were taken for events of their own.
INSERT INTO dedupe (tenant, source, event_id, seen_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
ON CONFLICT DO NOTHING;

-- name: known_events
-- Which of these events of a source are in the journal, whatever their time. Served by journal_by_call.
SELECT DISTINCT j.call_id, j.event_id
FROM unnest($3::text[], $4::text[]) AS wanted (call_id, event_id)
CROSS JOIN LATERAL (
    SELECT e.call_id, e.event_id FROM journal e
    WHERE e.tenant = $1 AND e.source = $2 AND e.call_id = wanted.call_id AND e.event_id = wanted.event_id OFFSET 0
) AS j;

-- name: forget_timeless
-- Drop what no window can need any more. What a spool held through an outage is judged late, and may be told once more
-- after a crash: a day after a row was written is enough for both.
DELETE FROM dedupe WHERE noted_at < now() - greatest($1::interval, interval '1 day');

-- name: has_partition
-- Whether the month's partition of a table is there.
SELECT to_regclass($1::text || to_char($2::timestamptz AT TIME ZONE 'UTC', '"_"YYYY"_"MM')) IS NOT NULL;

-- name: ensure_partition
-- Make the month's partition of a table if it is not there.
SELECT ensure_partition($1, $2);

-- name: reject
-- Keep payloads that can't be understood; the same one again is the same row, and open again. Digests differ.
INSERT INTO rejected (tenant, source, digest, received_at, media_type, payload, reason)
SELECT $1, $2, digest, $3, $4, payload, reason
FROM unnest($5::text[], $6::bytea[], $7::text[]) AS told (digest, payload, reason)
ON CONFLICT (tenant, source, digest)
DO UPDATE SET reason = excluded.reason, received_at = excluded.received_at, replayed_at = NULL;

-- name: rejected_open
-- Payloads to replay, oldest first, a page at a time.
SELECT id, tenant, source, received_at, media_type, payload, reason
FROM rejected WHERE replayed_at IS NULL AND id > $1 ORDER BY id LIMIT $2;

-- name: rejected_replayed
-- A replay understood it.
UPDATE rejected SET replayed_at = now() WHERE id = $1;

-- name: rejected_counts
-- How many payloads wait for a fix, per source.
SELECT source, count(*) AS waiting FROM rejected WHERE replayed_at IS NULL GROUP BY source;
