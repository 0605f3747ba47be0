-- name: known_rows
-- What the journal has of these calls from their statistics rows, and that a webhook told their end. Served by the
-- journal's primary key, once for each call.
SELECT j.call_id, j.kind, j.event_id, j.received_at
FROM unnest($3::text[]) AS w (call_id)
CROSS JOIN LATERAL (
    SELECT e.call_id, e.kind, e.event_id, e.received_at FROM journal e
    WHERE e.tenant = $1 AND e.source = $2 AND e.call_id = w.call_id AND e.kind IN ('signal', 'ended') OFFSET 0
) AS j;

-- name: add_source
-- Remember a source from its first reconciliation on.
INSERT INTO reconcile_sources (source) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: source
-- What is known of one source.
SELECT since, last_success_at, named_at, renamed_from, renamed_to FROM reconcile_sources WHERE source = $1;

-- name: sources
-- What is known of every source.
SELECT source, since, calls_found, calls_unseen, last_success_at FROM reconcile_sources ORDER BY source;

-- name: succeeded
-- A pass reached its end.
UPDATE reconcile_sources SET last_success_at = greatest(last_success_at, $2) WHERE source = $1;

-- name: renamed
-- The portal has another address now.
UPDATE reconcile_sources SET renamed_from = $2, renamed_to = $3 WHERE source = $1;

-- name: found
-- Count calls whose webhooks never came, each once. Returns how many of them were not counted yet.
WITH new AS (
    INSERT INTO reconcile_found (source, call_id) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING RETURNING 1
), counted AS (
    UPDATE reconcile_sources SET calls_found = calls_found + (SELECT count(*) FROM new)
    WHERE source = $1 AND EXISTS (SELECT 1 FROM new)
)
SELECT count(*) FROM new;

-- name: forget_found
-- Forget calls that no pass of the daemon can meet again. Served by reconcile_found_by_age.
DELETE FROM reconcile_found WHERE source = $1 AND found_at < $2;

-- name: unseen
-- Count calls of a window whose end a webhook told and whose statistics nobody shows us: the owner of the incoming
-- webhook may see a part only. Served by calls_by_time and the journal's primary key.
UPDATE reconcile_sources SET calls_unseen = (
    SELECT count(*) FROM calls c
    WHERE c.tenant = $2 AND c.source = $1 AND c.started_at >= $3::timestamptz AND c.started_at < $4::timestamptz
        AND c.ended_at IS NOT NULL AND c.direction <> 'request'
        AND NOT EXISTS (
            SELECT 1 FROM journal j
            WHERE j.tenant = $2 AND j.source = $1 AND j.call_id = c.call_id AND j.kind = 'signal'
                AND j.at >= $3::timestamptz - interval '1 day'
        )
)
WHERE source = $1 RETURNING calls_unseen;

-- name: pass
-- How far a pass is.
SELECT begin_at, end_at, cursor, rows, total, started_at, finished_at FROM reconcile_passes
WHERE source = $1 AND pass = $2;

-- name: begin_pass
-- Begin a pass anew.
INSERT INTO reconcile_passes AS p (source, pass, begin_at, end_at, cursor, total) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (source, pass) DO UPDATE SET
    begin_at = excluded.begin_at, end_at = excluded.end_at, cursor = excluded.cursor, total = excluded.total, rows = 0,
    started_at = now(), finished_at = NULL;

-- name: advance_pass
-- The rows up to a cursor are durable. Never back: of two who read the same, the slower one changes nothing.
UPDATE reconcile_passes SET cursor = greatest(cursor, $3), rows = rows + $4 WHERE source = $1 AND pass = $2;

-- name: finish_pass
-- A pass reached its end.
UPDATE reconcile_passes SET finished_at = now() WHERE source = $1 AND pass = $2;

-- name: try_lock
-- One reconciler a source; held by the session.
SELECT pg_try_advisory_lock(hashtext('callkpi.reconcile'), hashtext($1));

-- name: write_names
-- What the portal calls its people and lines now.
INSERT INTO portal_names AS n (tenant, source, kind, id, name)
SELECT $1, $2, kind, id, name FROM unnest($3::text[], $4::text[], $5::text[]) AS told (kind, id, name)
ON CONFLICT (tenant, source, kind, id) DO UPDATE SET name = excluded.name, read_at = now();

-- name: named
-- The portal's names were read.
UPDATE reconcile_sources SET named_at = now() WHERE source = $1;

-- name: portal_names
-- Every name that a portal told, in the order in which equal ones are told apart: the lower number first.
SELECT tenant, source, kind, id, name FROM portal_names ORDER BY tenant, kind, length(id), id, source;
