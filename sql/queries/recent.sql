-- name: recent
-- Sums of inbound calls and entries over named windows of whole quarters of an hour, by the calls' own time. Who still
-- waits, or expired, is not judged yet: of open and expired ones only the answered count. Served by the primary key.
SELECT w.tenant, w.part, r.*
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[]) AS w (tenant, part, begins_at, ends_at)
CROSS JOIN LATERAL (
    SELECT grain, queue, sum(answered)::bigint AS answered, sum(missed)::bigint AS missed,
        sum(CASE WHEN outcome IN ('open', 'expired') THEN answered ELSE offered END)::bigint AS judged,
        sum(within_sl)::bigint AS within_sl, sum(abandoned_within)::bigint AS abandoned_within,
        coalesce(sum(offered) FILTER (WHERE outcome = 'abandoned'), 0)::bigint AS abandoned,
        coalesce(sum(offered) FILTER (WHERE outcome = 'short_abandon'), 0)::bigint AS short_abandon
    FROM rollups
    WHERE tenant = w.tenant AND grain IN ('call', 'entry') AND at >= w.begins_at AND at < w.ends_at
        AND direction = 'inbound'
    GROUP BY grain, queue
) AS r;

-- name: untried
-- Customers with a known number whom we missed since a time and nobody has called since, by the queue of the last miss.
-- Served by missed_open.
SELECT tenant, queue, count(*) AS customers, min(missed_at) AS oldest FROM (
    SELECT m.tenant, min(m.started_at) AS missed_at, (array_agg(m.queue ORDER BY m.started_at DESC))[1] AS queue
    FROM unnest($1::text[], $2::timestamptz[]) AS w (tenant, since)
    JOIN missed_calls m ON m.tenant = w.tenant AND m.started_at >= w.since AND m.fate = 'waiting' AND m.customer <> ''
    GROUP BY m.tenant, m.customer
) AS items GROUP BY tenant, queue;
