-- name: put
-- Set streams aside, or add what came of those that are: $8 says how many tries that was. The wait before the next try
-- grows with their number, up to six hours.
INSERT INTO set_aside AS s (part, tenant, source, call_id, first_at, last_at, counted, reason, since, tries, next_try_at)
SELECT $1, tenant, source, call_id, first_at, last_at, $7, reason, now(), $9::integer, now() + interval '1 minute'
FROM unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $8::text[])
    AS found (tenant, source, call_id, first_at, last_at, reason)
ON CONFLICT (part, tenant, source, call_id) DO UPDATE SET
    first_at = least(s.first_at, excluded.first_at), last_at = greatest(s.last_at, excluded.last_at),
    counted = s.counted OR excluded.counted,
    reason = CASE WHEN $9 > 0 THEN excluded.reason ELSE s.reason END,
    tries = s.tries + $9,
    next_try_at = CASE WHEN $9 > 0
        THEN now() + least(interval '1 minute' * 5 ^ least(s.tries, 6), interval '6 hours')
        ELSE s.next_try_at END;

-- name: known
-- Which of these streams are set aside. Served by the primary key.
SELECT s.tenant, s.source, s.call_id FROM unnest($2::text[], $3::text[], $4::text[]) AS wanted (tenant, source, call_id)
JOIN set_aside s ON s.part = $1 AND s.tenant = wanted.tenant AND s.source = wanted.source AND s.call_id = wanted.call_id;

-- name: forget
-- These streams could be projected.
DELETE FROM set_aside s USING unnest($2::text[], $3::text[], $4::text[]) AS gone (tenant, source, call_id)
WHERE s.part = $1 AND s.tenant = gone.tenant AND s.source = gone.source AND s.call_id = gone.call_id;

-- name: forget_all
-- Everything is computed again.
DELETE FROM set_aside;

-- name: drop_pending
-- A group whose only stream is set aside; nothing where another projector was faster.
DELETE FROM pending WHERE id = $1 RETURNING id;

-- name: suspect
-- Project these groups apart from the others.
UPDATE pending SET suspect = true WHERE id = ANY ($1::bigint[]);

-- name: any_suspects
SELECT EXISTS (SELECT FROM pending WHERE suspect);

-- name: halve
-- Make two groups of one, so that what can be projected of it is.
WITH whole AS (DELETE FROM pending WHERE id = $1 RETURNING *), halves AS (
    SELECT w.journalled_at, w.counted, u.*, u.n * 2 > cardinality(w.call_ids) AS second
    FROM whole w, unnest(w.tenants, w.sources, w.call_ids, w.first_at, w.last_at)
        WITH ORDINALITY AS u (tenant, source, call_id, first_at, last_at, n)
)
INSERT INTO pending (journalled_at, tenants, sources, call_ids, first_at, last_at, counted, suspect)
SELECT journalled_at, array_agg(tenant), array_agg(source), array_agg(call_id), array_agg(first_at), array_agg(last_at),
    counted, true
FROM halves GROUP BY journalled_at, counted, second;

-- name: retry
-- Put streams up for projection again whose time has come, a group each. They stay set aside until it succeeds; should
-- this try be lost, the next one comes with the next time.
WITH due AS (
    UPDATE set_aside SET next_try_at = now() + interval '6 hours'
    WHERE (part, tenant, source, call_id) IN (
        SELECT part, tenant, source, call_id FROM set_aside
        WHERE part = 'calls' AND next_try_at <= now() ORDER BY next_try_at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    RETURNING tenant, source, call_id, first_at, last_at, counted
)
INSERT INTO pending (tenants, sources, call_ids, first_at, last_at, counted, suspect)
SELECT ARRAY[tenant], ARRAY[source], ARRAY[call_id], ARRAY[first_at], ARRAY[last_at], counted, true FROM due;

-- name: retry_times
-- The same for agents' times.
WITH due AS (
    UPDATE set_aside SET next_try_at = now() + interval '6 hours'
    WHERE (part, tenant, source, call_id) IN (
        SELECT part, tenant, source, call_id FROM set_aside
        WHERE part = 'times' AND next_try_at <= now() ORDER BY next_try_at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    RETURNING tenant, source, call_id, first_at, last_at
)
INSERT INTO agent_pending (tenants, sources, call_ids, first_at, last_at)
SELECT ARRAY[tenant], ARRAY[source], ARRAY[call_id], ARRAY[first_at], ARRAY[last_at] FROM due;

-- name: retry_now
-- Everything that stands aside is tried again at once: somebody says that a fault was mended.
UPDATE set_aside SET next_try_at = now();

-- name: count
SELECT tenant, count(*) AS streams FROM set_aside GROUP BY tenant;

-- name: total
SELECT count(*) FROM set_aside;

-- name: list
-- What stands aside, the newest first.
SELECT part, tenant, source, call_id, first_at, last_at, reason, since, tries, next_try_at
FROM set_aside WHERE $1 = '' OR tenant = $1 ORDER BY since DESC, tenant, source, call_id LIMIT $2;
