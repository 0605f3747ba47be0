-- name: missed_call
-- One missed call with its customer and fate. Served by the primary key.
SELECT tenant, source, call_id, started_at, customer, line, queue, outcome, fate, called_back_at, reached_at
FROM missed_calls WHERE tenant = $1 AND source = $2 AND call_id = $3;

-- name: still_waits
-- Whether a customer (or one call of a hidden number) is on the work list. Served by missed_by_customer or the key.
SELECT EXISTS (
    SELECT 1 FROM missed_calls
    WHERE tenant = $1 AND fate IN ('waiting', 'called_back') AND started_at >= $5::timestamptz
        AND customer = $2 AND ($2 <> '' OR (source = $3 AND call_id = $4))
);

-- name: lock_key
-- One request at a time of those with the same idempotency key.
SELECT pg_advisory_xact_lock(hashtextextended($1 || chr(31) || $2, 8));

-- name: answered
-- What a request with this key was answered.
SELECT digest, body FROM idempotency WHERE reader = $1 AND key = $2;

-- name: remember_answer
-- Keep an answer under its key.
INSERT INTO idempotency (reader, key, digest, body) VALUES ($1, $2, $3, $4);

-- name: forget_answers
-- Keys that no client uses any more. Served by idempotency_by_age.
DELETE FROM idempotency WHERE at < now() - interval '1 day';

-- name: events_of
-- Everything that was done about some items, in any order. Served by journal_by_call.
SELECT j.* FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, call_id)
CROSS JOIN LATERAL (
    SELECT e.tenant, e.source, e.call_id, e.kind, e.at, e.event_id, e.received_at, e.body FROM journal e
    WHERE e.tenant = wanted.tenant AND e.source = wanted.source AND e.call_id = wanted.call_id OFFSET 0
) AS j;

-- name: write_items
-- The state of items.
INSERT INTO work_items AS w (tenant, item, claimed_by, claimed_until, body)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::json[])
ON CONFLICT (tenant, item) DO UPDATE SET
    claimed_by = excluded.claimed_by, claimed_until = excluded.claimed_until, body = excluded.body;

-- name: items
-- The state of items, those that were ever worked on. Served by the primary key.
SELECT w.tenant, w.item, w.claimed_by, w.claimed_until, w.body
FROM unnest($1::text[], $2::text[]) AS wanted (tenant, item)
JOIN work_items w USING (tenant, item);

-- name: missed_calls_at
-- Missed calls by their keys. Served by the primary key.
SELECT m.tenant, m.source, m.call_id, m.started_at, m.customer, m.line, m.queue, m.outcome
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, call_id)
JOIN missed_calls m USING (tenant, source, call_id);

-- name: record
-- Add to the audit.
INSERT INTO audit (who, role, action, tenant, subject, details) VALUES ($1, $2, $3, $4, $5, $6::jsonb);

-- name: audit
-- The audit, newest first, a page at a time. Served by the primary key and audit_by_time.
SELECT id, at, who, role, action, tenant, subject, details FROM audit
WHERE id < $1 AND at >= $2::timestamptz AND at < $3::timestamptz
    AND ($4::text IS NULL OR who = $4) AND ($5::text IS NULL OR action = $5)
    AND ($6::text[] IS NULL OR tenant = ANY ($6))
ORDER BY id DESC LIMIT $7;

-- name: rename_item
-- What was done about a customer before a time is about his pseudonym from now on. Served by journal_by_call.
UPDATE journal SET call_id = $4 WHERE tenant = $1 AND source = $2 AND call_id = $3 AND at < $5::timestamptz;

-- name: events_with
-- What was done about anybody and holds a number: found by the text, which no index serves.
SELECT tenant, source, call_id, at, event_id, body FROM journal
WHERE tenant = $1 AND source = $2 AND at < $4::timestamptz AND body::text ~ $3;

-- name: delete_item
-- Forget the state of an item.
DELETE FROM work_items WHERE tenant = $1 AND item = $2;

-- name: delete_answers
-- Forget answers to requests: they may hold what was noted.
DELETE FROM idempotency;
