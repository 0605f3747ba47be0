-- name: add_funnel
-- Remember a portal from the first time on that its funnel is written.
INSERT INTO crm_funnels (source) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: funnel
-- What is known of the pipeline in one portal.
SELECT pipeline, is_made, stages, asked_at IS NOT NULL AS is_asked, asked_at > now() - $2::interval AS in_doubt
FROM crm_funnels WHERE source = $1;

-- name: funnels
-- How the writing into every portal goes.
SELECT source, pipeline, backlog, since, last_success_at, problem FROM crm_funnels ORDER BY source;

-- name: ask_pipeline
-- A request to make the pipeline is about to be sent.
UPDATE crm_funnels SET asked_at = now() WHERE source = $1;

-- name: set_pipeline
-- The pipeline is there.
UPDATE crm_funnels SET pipeline = $2, is_made = $3, asked_at = NULL, stages = '' WHERE source = $1;

-- name: set_stages
-- Its stages are as they ought to be.
UPDATE crm_funnels SET stages = $2 WHERE source = $1;

-- name: succeeded
-- A round came to its end; so much still waits.
UPDATE crm_funnels SET last_success_at = now(), backlog = $2, problem = '' WHERE source = $1;

-- name: troubled
-- A round failed; what a person should know of it.
UPDATE crm_funnels SET problem = $2, backlog = greatest(backlog, $3) WHERE source = $1;

-- name: missed
-- Misses of the customers whom the funnel is about: who were missed lately (a call whose item is closed is no reason),
-- and whose item is open; each with its item.
-- Served by missed_by_time, crm_items_open, missed_by_customer and crm_items_by_call.
WITH concerned AS (
    SELECT m.customer FROM missed_calls m
    WHERE m.tenant = $1 AND m.started_at >= $3::timestamptz AND m.customer <> '' AND NOT EXISTS (
        SELECT 1 FROM crm_items i
        WHERE i.source = $2 AND i.call_source = m.source AND i.call_id = m.call_id AND i.closed <> ''
    )
    UNION
    SELECT m.customer FROM crm_items i
    JOIN missed_calls m ON m.tenant = $1 AND m.source = i.call_source AND m.call_id = i.call_id AND m.customer <> ''
    WHERE i.source = $2 AND i.closed = ''
)
SELECT m.source, m.call_id, m.started_at, m.customer, m.line, m.queue, m.fate, m.called_back_at, m.reached_at,
    i.origin_id, i.item_id, i.stage, i.detail, i.closed, i.refusals, i.refused_at, i.written_at,
    i.asked_at > now() - $5::interval AS in_doubt
FROM concerned c
JOIN missed_calls m ON m.tenant = $1 AND m.customer = c.customer AND m.started_at >= $4::timestamptz
LEFT JOIN crm_items i ON i.source = $2 AND i.call_source = m.source AND i.call_id = m.call_id;

-- name: not_missed
-- Calls with an open item that are not missed (any more). Served by crm_items_open and the primary keys.
SELECT c.body, i.origin_id, i.item_id, i.stage, i.detail, i.closed, i.refusals, i.refused_at, i.written_at,
    i.asked_at > now() - $3::interval AS in_doubt
FROM crm_items i
JOIN call_keys k ON k.tenant = $1 AND k.source = i.call_source AND k.call_id = i.call_id
JOIN call_keys r ON r.tenant = k.tenant AND r.source = k.source AND r.call_id = k.root
JOIN calls c ON c.tenant = r.tenant AND c.source = r.source AND c.call_id = r.call_id AND c.started_at = r.started_at
WHERE i.source = $2 AND i.closed = '' AND NOT EXISTS (
    SELECT 1 FROM missed_calls m WHERE m.tenant = $1 AND m.source = i.call_source AND m.call_id = i.call_id
);

-- name: without_item
-- Offered calls that are neither missed nor have an item. Served by calls_by_time.
SELECT c.body FROM calls c
WHERE c.tenant = $1 AND c.started_at >= $3::timestamptz AND c.direction = 'inbound'
    AND c.outcome IN ('open', 'answered')
    AND NOT EXISTS (
        SELECT 1 FROM crm_items i WHERE i.source = $2 AND i.call_source = c.source AND i.call_id = c.call_id
    );

-- name: crm_of
-- What the sources say of these calls' customers in the CRM. Served by the primary key.
SELECT w.source, w.call_id, c.body -> 'crm' AS crm
FROM unnest($2::text[], $3::text[], $4::timestamptz[]) AS w (source, call_id, started_at)
JOIN calls c ON c.tenant = $1 AND c.source = w.source AND c.call_id = w.call_id AND c.started_at = w.started_at;

-- name: ask_item
-- A request to add an item is about to be sent.
INSERT INTO crm_items (source, origin_id, call_source, call_id, asked_at) VALUES ($1, $2, $3, $4, now())
ON CONFLICT (source, origin_id) DO UPDATE SET asked_at = now();

-- name: not_added
-- The portal refused to add it.
UPDATE crm_items SET asked_at = NULL, refusals = refusals + 1, refused_at = now() WHERE source = $1 AND origin_id = $2;

-- name: refused
-- The portal refused to change it.
UPDATE crm_items SET refusals = refusals + 1, refused_at = now() WHERE source = $1 AND origin_id = $2;

-- name: write_item
-- What an item is in the portal now.
INSERT INTO crm_items AS i (source, origin_id, call_source, call_id, item_id, stage, detail, closed, written_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, coalesce($9::timestamptz, now()))
ON CONFLICT (source, origin_id) DO UPDATE SET
    item_id = excluded.item_id, stage = excluded.stage, detail = excluded.detail, closed = excluded.closed,
    asked_at = NULL, refusals = 0, refused_at = NULL,
    written_at = excluded.written_at;

-- name: forget_items
-- Items that were closed long ago: their calls are older than any lookback. Served by crm_items_by_age.
DELETE FROM crm_items WHERE source = $1 AND closed <> '' AND written_at < now() - interval '180 days';

-- name: echoes
-- How many of these items are ours, or may be one that we are just adding. Served by crm_items_by_item and
-- crm_items_open.
SELECT count(*) FROM unnest($2::bigint[], $3::boolean[]) AS told (item_id, is_new)
WHERE EXISTS (SELECT 1 FROM crm_items i WHERE i.source = $1 AND i.item_id = told.item_id)
    OR told.is_new AND EXISTS (
        SELECT 1 FROM crm_items i WHERE i.source = $1 AND i.closed = '' AND i.item_id IS NULL AND i.asked_at IS NOT NULL
    );
