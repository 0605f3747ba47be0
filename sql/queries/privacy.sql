-- name: add_key
-- The key of this store's digests, made once.
INSERT INTO privacy_key (key) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: key
-- The key of this store's digests.
SELECT key FROM privacy_key;

-- name: erased
-- Every number that was erased.
SELECT tenant, digest, pseudonym, erased_at FROM erased_numbers;

-- name: add_erased
-- Remember a number that is erased, as its digest. Erased again it keeps its pseudonym.
INSERT INTO erased_numbers AS e (tenant, digest, pseudonym) VALUES ($1, $2, $3)
ON CONFLICT (tenant, digest) DO UPDATE SET erased_at = now() RETURNING pseudonym;

-- name: events_with
-- Events of one month that hold a number, written in whatever form: found by the text, which no index serves.
SELECT call_id, source, count(*) AS events FROM journal
WHERE tenant = $1 AND at >= $2::timestamptz AND at < $3::timestamptz AND body::text ~ $4
GROUP BY 1, 2;

-- name: calls_with
-- Calls that hold a number in one month: found by the text, which no index serves.
SELECT call_id, source FROM calls
WHERE tenant = $1 AND started_at >= $2::timestamptz AND started_at < $3::timestamptz
    AND (customer = $4 OR body::text ~ $5);

-- name: sides_with
-- Calls that a source told with a number: found by the text, which no index serves.
SELECT call_id, source FROM same_call_sides WHERE tenant = $1 AND (number = $2 OR body::text ~ $3);

-- name: side_bodies_of
-- What sources told of these calls. Served by the primary key.
SELECT s.tenant, s.source, s.call_id, s.number, s.body::text AS body
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, call_id)
JOIN same_call_sides s USING (tenant, source, call_id);

-- name: rewrite_sides
-- Put a pseudonym into what sources told of calls.
UPDATE same_call_sides s SET number = n.number, body = n.body
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::json[]) AS n (tenant, source, call_id, number, body)
WHERE (s.tenant, s.source, s.call_id) = (n.tenant, n.source, n.call_id);

-- name: missed_with
-- Missed calls of a customer.
SELECT call_id, source FROM missed_calls WHERE tenant = $1 AND customer = $2;

-- name: old_calls
-- Calls of one month whose customers still have their numbers, a page at a time; those that are part of another call
-- as well.
SELECT tenant, source, call_id, customer FROM (
    SELECT tenant, source, call_id, started_at, customer FROM calls
    UNION ALL
    SELECT tenant, source, call_id, started_at, number FROM same_call_sides WHERE rule <> ''
) AS told
WHERE started_at >= $1::timestamptz AND started_at < $2::timestamptz AND customer <> '' AND customer !~ $3
    AND (tenant, source, call_id) > ($4, $5, $6)
ORDER BY tenant, source, call_id LIMIT $7;

-- name: members
-- All keys that are part of these calls, these included.
SELECT k.tenant, k.source, k.call_id, k.root, k.first_at, k.last_at, k.started_at
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, call_id)
JOIN call_keys k ON k.tenant = wanted.tenant AND k.source = wanted.source
    AND (k.call_id = wanted.call_id OR (k.root = wanted.call_id AND k.root <> k.call_id));

-- name: lock
-- Hold these calls: nobody folds them meanwhile. In key order, as the projector takes them.
SELECT tenant, source, call_id FROM call_keys
WHERE (tenant, source, call_id) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))
ORDER BY tenant, source, call_id FOR UPDATE;

-- name: rewrite_events
-- Put a pseudonym into events. The one thing that ever changes the journal.
UPDATE journal j SET body = n.body
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::json[])
    AS n (tenant, source, call_id, at, event_id, body)
WHERE (j.tenant, j.source, j.call_id, j.at, j.event_id) = (n.tenant, n.source, n.call_id, n.at, n.event_id);

-- name: events_of_streams
-- All events of these streams. Served by the index of streams.
SELECT j.tenant, j.source, j.call_id, j.at, j.event_id, j.body::text AS body
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, call_id)
JOIN journal j USING (tenant, source, call_id);

-- name: bodies_of
-- The calls as they are kept, and what they add to the figures. Served by the primary key of one partition each.
SELECT c.tenant, c.source, c.call_id, c.started_at, c.customer, c.body::text AS body, c.facts::text AS facts
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, call_id)
CROSS JOIN LATERAL (
    SELECT * FROM calls k
    WHERE k.tenant = wanted.tenant AND k.source = wanted.source AND k.call_id = wanted.call_id
        AND k.started_at BETWEEN $4::timestamptz AND $5::timestamptz OFFSET 0
) AS c;

-- name: rewrite_calls
-- Put a pseudonym into calls.
UPDATE calls c SET customer = n.customer, body = n.body
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::json[])
    AS n (tenant, source, call_id, started_at, customer, body)
WHERE (c.tenant, c.source, c.call_id, c.started_at) = (n.tenant, n.source, n.call_id, n.started_at);

-- name: rewrite_missed
-- Put pseudonyms into the missed calls among these.
UPDATE missed_calls m SET customer = n.pseudonym
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, call_id),
     unnest($4::text[], $5::text[], $6::text[]) AS n (tenant, customer, pseudonym)
WHERE (m.tenant, m.source, m.call_id) = (wanted.tenant, wanted.source, wanted.call_id)
    AND (m.tenant, m.customer) = (n.tenant, n.customer);

-- name: rejected_page
-- Payloads that were not understood, a page at a time.
SELECT id, payload FROM rejected WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT 500;

-- name: rewrite_rejected
-- Put a pseudonym into a payload.
UPDATE rejected SET payload = $2 WHERE id = $1;

-- name: forget_values
-- Values of custom fields that count no call any more. Reads all days of these tenants.
DELETE FROM day_rollups d USING unnest($1::text[], $2::text[]) AS gone (tenant, value)
WHERE (d.tenant, d.value) = (gone.tenant, gone.value) AND d.field <> '' AND d.contacts = 0;
