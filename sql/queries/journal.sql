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

-- name: new_timeless
-- Of events without a time of their own, those not seen within the window. Served by the primary key.
INSERT INTO dedupe (tenant, source, event_id, seen_at)
SELECT DISTINCT ON (tenant, source, event_id) tenant, source, event_id, now()
FROM unnest($1::text[], $2::text[], $3::text[]) AS incoming (tenant, source, event_id)
ORDER BY tenant, source, event_id
ON CONFLICT (tenant, source, event_id) DO UPDATE SET seen_at = excluded.seen_at
    WHERE dedupe.seen_at < excluded.seen_at - $4::interval
RETURNING tenant, source, event_id;

-- name: known_events
-- Which of these events of a source are in the journal, whatever their time. Served by journal_by_call.
SELECT DISTINCT j.call_id, j.event_id
FROM unnest($3::text[], $4::text[]) AS wanted (call_id, event_id)
CROSS JOIN LATERAL (
    SELECT e.call_id, e.event_id FROM journal e
    WHERE e.tenant = $1 AND e.source = $2 AND e.call_id = wanted.call_id AND e.event_id = wanted.event_id OFFSET 0
) AS j;

-- name: forget_timeless
-- Drop what no window can need any more.
DELETE FROM dedupe WHERE seen_at < now() - $1::interval;

-- name: has_partition
-- Whether the month's partition of a table is there.
SELECT to_regclass($1::text || to_char($2::timestamptz AT TIME ZONE 'UTC', '"_"YYYY"_"MM')) IS NOT NULL;

-- name: ensure_partition
-- Make the month's partition of a table if it is not there.
SELECT ensure_partition($1, $2);

-- name: reject
-- Keep a payload that can't be understood; the same one again is the same row, and open again.
INSERT INTO rejected (tenant, source, digest, received_at, media_type, payload, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7)
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
