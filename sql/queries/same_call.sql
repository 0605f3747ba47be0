-- name: lock_tenants
-- One projector at a time decides which calls of a tenant are one. In the order of the locks' numbers.
SELECT pg_advisory_xact_lock(n) FROM (
    SELECT DISTINCT hashtextextended('callkpi.same_call' || chr(31) || tenant, 7) AS n
    FROM unnest($1::text[]) AS wanted (tenant) ORDER BY 1
) AS ordered;

-- name: sides_of
-- These sides, and those that they lead. Served by the primary key and same_call_by_lead.
SELECT s.* FROM unnest($2::text[], $3::text[]) AS wanted (source, call_id)
CROSS JOIN LATERAL (
    SELECT * FROM same_call_sides k
    WHERE k.tenant = $1 AND k.source = wanted.source AND k.call_id = wanted.call_id OFFSET 0
) AS s
UNION ALL
SELECT s.* FROM unnest($2::text[], $3::text[]) AS wanted (source, call_id)
CROSS JOIN LATERAL (
    SELECT * FROM same_call_sides k
    WHERE k.tenant = $1 AND k.lead_source = wanted.source AND k.lead_call_id = wanted.call_id AND k.rule <> '' OFFSET 0
) AS s;

-- name: sides_near
-- Sides of these numbers in these hours, so many of each at the most. Served by same_call_by_number.
SELECT s.* FROM unnest($2::text[], $3::timestamptz[]) AS wanted (number, hour)
CROSS JOIN LATERAL (
    SELECT * FROM same_call_sides k
    WHERE k.tenant = $1 AND k.number = wanted.number AND k.number <> ''
        AND k.started_at >= wanted.hour AND k.started_at < wanted.hour + interval '1 hour'
    ORDER BY k.started_at LIMIT $4
) AS s;

-- name: sides_named
-- Sides that are known by one of these ids. Served by same_call_by_id: the tenant is compared outside of the subquery, or
-- a planner without statistics reads all of the tenant's sides as well, each time.
SELECT s.* FROM unnest($2::text[]) AS wanted (id)
CROSS JOIN LATERAL (SELECT * FROM same_call_sides k WHERE k.ids @> ARRAY[wanted.id] OFFSET 0) AS s
WHERE s.tenant = $1;

-- name: sides_naming
-- Sides that name one of these ids. Served by same_call_by_ref.
SELECT s.* FROM unnest($2::text[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT * FROM same_call_sides k WHERE k.refs <> '{}' AND k.refs @> ARRAY[wanted.id] OFFSET 0
) AS s
WHERE s.tenant = $1;

-- name: write_sides
-- Write sides, new or again.
INSERT INTO same_call_sides AS s (tenant, source, call_id, started_at, number, ids, refs, body, lead_source, lead_call_id,
                                  rule, ambiguous)
SELECT tenant, source, call_id, started_at, number,
    ARRAY(SELECT json_array_elements_text(ids)), ARRAY(SELECT json_array_elements_text(refs)), body, lead_source,
    lead_call_id, rule, ambiguous
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::json[], $7::json[], $8::json[], $9::text[],
    $10::text[], $11::text[], $12::boolean[]
) AS n (tenant, source, call_id, started_at, number, ids, refs, body, lead_source, lead_call_id, rule, ambiguous)
ON CONFLICT (tenant, source, call_id) DO UPDATE SET
    started_at = excluded.started_at, number = excluded.number, ids = excluded.ids, refs = excluded.refs,
    body = excluded.body, lead_source = excluded.lead_source, lead_call_id = excluded.lead_call_id,
    rule = excluded.rule, ambiguous = excluded.ambiguous;

-- name: delete_sides
-- Remove sides that became part of another call of their own source.
DELETE FROM same_call_sides s
USING unnest($2::text[], $3::text[]) AS gone (source, call_id)
WHERE s.tenant = $1 AND s.source = gone.source AND s.call_id = gone.call_id;

-- name: counts
-- How many calls are part of another one, by rule, and how many could not be told apart.
SELECT tenant, rule, ambiguous, count(*) AS calls FROM same_call_sides GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- name: side_page
-- Sides of a tenant in order, a page at a time, for checking them. Served by the primary key.
SELECT * FROM same_call_sides WHERE tenant = $1 AND (source, call_id) > ($2, $3) ORDER BY source, call_id LIMIT $4;

-- name: side_body
-- What one source tells of a call. Served by the primary key.
SELECT body, rule FROM same_call_sides WHERE tenant = $1 AND source = $2 AND call_id = $3;

-- name: sides_without_rule
-- Whether a tenant has sides of a rule that it has no longer.
SELECT DISTINCT tenant FROM same_call_sides WHERE NOT tenant = ANY ($1::text[]);

-- name: calls_without_side
-- Calls of sources with a rule that were computed before they had it. Served by calls_by_time, newest first.
SELECT c.source, count(*) AS calls FROM calls c
LEFT JOIN same_call_sides s ON s.tenant = c.tenant AND s.source = c.source AND s.call_id = c.call_id
WHERE c.tenant = $1 AND c.source = ANY ($2::text[]) AND s.call_id IS NULL GROUP BY 1 ORDER BY 1;
