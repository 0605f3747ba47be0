-- name: handles_without_end
-- Rings and conversations of a window in calls that go on or expired. Found in calls_by_time alone.
WITH endless AS MATERIALIZED (
    SELECT DISTINCT started_at FROM calls
    WHERE tenant = $1 AND started_at > $2::timestamptz - interval '2 days' AND started_at < $3::timestamptz
        AND ended_at IS NULL
)
SELECT c.outcome, f.value ->> 'agent' AS agent, f.value ->> 'queue' AS queue, count(*) AS handles
FROM endless CROSS JOIN LATERAL (
    SELECT * FROM calls k WHERE k.tenant = $1 AND k.started_at = endless.started_at OFFSET 0
) AS c
CROSS JOIN LATERAL json_array_elements(c.facts) AS f (value)
WHERE c.ended_at IS NULL AND f.value ->> 'grain' = 'handle' AND f.value ->> 'outcome' = 'open'
    AND (f.value ->> 'at')::timestamptz >= $2::timestamptz AND (f.value ->> 'at')::timestamptz < $3::timestamptz
GROUP BY 1, 2, 3;

-- name: facts_of_calls
-- What calls (of some outcomes, or all) count as that went on in a window. Served by calls_by_time.
SELECT source, call_id, started_at, customer, facts FROM calls_going($1, $2::timestamptz, $3::timestamptz)
WHERE $4::text[] IS NULL OR outcome = ANY ($4)
ORDER BY started_at, source, call_id;

-- name: most_waiting
-- The first moment of a window at which most callers waited, in some queues ($4; NULL: anywhere); who waits, waits until
-- $3. Served by the primary key; a call is at most two days long.
WITH stays AS (
    SELECT greatest(entered_at, $2::timestamptz) AS since,
        least(entered_at + wait_ms * interval '1 ms', $3::timestamptz) AS until
    FROM waits
    WHERE tenant = $1 AND entered_at > $2::timestamptz - interval '2 days' AND entered_at < $3::timestamptz
        AND (wait_ms IS NULL OR entered_at + wait_ms * interval '1 ms' > $2::timestamptz)
        AND ($4::text[] IS NULL OR queue = ANY ($4))
), turns AS (
    SELECT at, sum(turn) AS turn FROM (
        SELECT since AS at, 1 AS turn FROM stays WHERE since < until
        UNION ALL SELECT until, -1 FROM stays WHERE since < until
    ) AS each GROUP BY at
), levels AS (
    SELECT at, sum(turn) OVER (ORDER BY at) AS waiting FROM turns
)
SELECT at, waiting::bigint AS waiting FROM levels WHERE waiting > 0 ORDER BY waiting DESC, at LIMIT 1;

-- name: missed_in
-- Missed calls (and requests to be called) of a window with what became of their customers, and when that was: the time
-- of a conversation, or of the hand that closed the item. Served by missed_by_time and the key of work_items; $4 begins
-- the items of hidden numbers.
SELECT * FROM missed_settled($1, $4)
WHERE started_at >= $2::timestamptz AND started_at < $3::timestamptz
ORDER BY started_at, source, call_id;

-- name: waiting_at
-- The customers whom one missed since $2 and who still waited at $3, in some queues ($6; NULL: all): how many, how many
-- of them were missed last since $5, since when the oldest one waits, and how many wait at $7 still, when what was
-- missed before $8 is written off.
SELECT count(*) AS customers, count(*) FILTER (WHERE last_at >= $5::timestamptz) AS of_period,
    min(first_at) AS oldest,
    count(*) FILTER (WHERE last_at >= $8::timestamptz AND (settled_at IS NULL OR settled_at > $7::timestamptz)) AS still
FROM (
    SELECT min(started_at) AS first_at, max(started_at) AS last_at,
        (array_agg(settled_at ORDER BY started_at DESC, source DESC, call_id DESC))[1] AS settled_at
    FROM missed_settled($1, $4)
    WHERE started_at >= $2::timestamptz AND started_at < $3::timestamptz
        AND (reached_at IS NULL OR reached_at >= $3::timestamptz)
        AND (settled_at IS NULL OR settled_at >= $3::timestamptz) AND ($6::text[] IS NULL OR queue = ANY ($6))
    GROUP BY customer, CASE WHEN customer = '' THEN source || '/' || call_id ELSE '' END
) AS customers;

-- name: missed_of_open
-- Those of a window, of customers of whom one since $5 was not settled at $6. Served by missed_by_customer as well.
WITH still_open AS (
    SELECT source, call_id, customer FROM missed_settled($1, $4)
    WHERE started_at >= $5::timestamptz AND started_at < $3::timestamptz
        AND (reached_at IS NULL OR reached_at > $6::timestamptz) AND (settled_at IS NULL OR settled_at > $6::timestamptz)
)
SELECT * FROM missed_settled($1, $4)
WHERE started_at >= $2::timestamptz AND started_at < $3::timestamptz
    AND (customer IN (SELECT customer FROM still_open WHERE customer <> '')
         OR customer = '' AND started_at >= $5::timestamptz
            AND (source, call_id) IN (SELECT source, call_id FROM still_open))
ORDER BY started_at, source, call_id;

-- name: rejected_in
-- Payloads that came in a window and could not be understood yet. Few rows: no index.
SELECT source, count(*) AS payloads, min(received_at) AS first_at, max(received_at) AS last_at FROM rejected
WHERE tenant = $1 AND received_at >= $2::timestamptz AND received_at < $3::timestamptz AND replayed_at IS NULL
GROUP BY source ORDER BY source;

-- name: waiting_to_be_computed
-- Groups with events of a tenant that are journalled and not projected. Few rows: no index.
SELECT count(*) FROM pending WHERE $1 = ANY (tenants);

-- name: heard
-- By minute of a window what each source told of it: the first and the last of it, and calls of which something came
-- more than $5 seconds after it happened. Served by journal_by_time.
SELECT source, min(at) AS first_at, max(at) AS last_at,
    array_agg(call_id) FILTER (WHERE kind <> 'agent_state' AND received_at - at > make_interval(secs => $5::float8)) AS late
FROM journal
WHERE tenant = $1 AND source = ANY ($2::text[]) AND at >= $3::timestamptz AND at < $4::timestamptz
GROUP BY source, date_bin('1 minute', at, '2000-01-01'::timestamptz)
ORDER BY first_at, source;

-- name: conflicting_in
-- Calls of a window whose facts disagree; that an end was not heard, or that their times can't be, are other doubts.
-- Served by calls_doubtful.
SELECT source, call_id FROM calls
WHERE tenant = $1 AND greatest(started_at, started_at) >= $2::timestamptz
    AND greatest(started_at, started_at) < $3::timestamptz AND started_at >= $2 AND started_at < $3
    AND body::text NOT LIKE '%"flags":[]%'
    AND EXISTS (SELECT FROM json_array_elements_text(body -> 'flags') AS f (flag) WHERE f.flag NOT IN ('unheard', 'implausible_time'))
ORDER BY started_at, source, call_id;

-- name: implausible_in
-- Calls of a window whose times can't be. Served by calls_doubtful.
SELECT source, call_id FROM calls
WHERE tenant = $1 AND greatest(started_at, started_at) >= $2::timestamptz
    AND greatest(started_at, started_at) < $3::timestamptz AND started_at >= $2 AND started_at < $3
    AND body::text NOT LIKE '%"flags":[]%' AND (body -> 'flags')::jsonb ? 'implausible_time'
ORDER BY started_at, source, call_id;

-- name: set_aside_in
-- Calls and agents of a window that can't be computed from their events; there are few.
SELECT source, call_id FROM set_aside
WHERE tenant = $1 AND last_at >= $2::timestamptz AND first_at < $3::timestamptz
ORDER BY first_at, source, call_id;

-- name: reconciled_in
-- Calls of a window whose webhooks were lost. Served by calls_by_time and the primary key.
SELECT c.source, c.call_id FROM calls c JOIN reconcile_found f USING (source, call_id)
WHERE c.tenant = $1 AND c.started_at >= $2::timestamptz AND c.started_at < $3::timestamptz
ORDER BY c.started_at, c.source, c.call_id;

-- name: open_at
-- Calls that had begun at a moment and had not ended. Found in calls_by_time alone; a call is at most two days long.
WITH going AS MATERIALIZED (
    SELECT DISTINCT started_at FROM calls
    WHERE tenant = $1 AND started_at > $2::timestamptz - interval '2 days' AND started_at < $2::timestamptz
        AND (ended_at IS NULL OR ended_at > $2::timestamptz) AND direction IN ('inbound', 'outbound')
)
SELECT c.body FROM going CROSS JOIN LATERAL (
    SELECT * FROM calls k WHERE k.tenant = $1 AND k.started_at = going.started_at OFFSET 0
) AS c
WHERE (c.ended_at IS NULL OR c.ended_at > $2::timestamptz) AND c.direction IN ('inbound', 'outbound')
ORDER BY c.started_at, c.source, c.call_id;

-- name: unheard_in
-- Calls of some sources of which an answer or the end was not heard, that may have ended from $3 to $4. Served by
-- calls_doubtful; a call is at most two days long.
SELECT source, call_id, coalesce(ended_at, last_event_at) AS at FROM calls
WHERE tenant = $1 AND source = ANY ($2::text[])
    AND greatest(started_at, started_at) > $3::timestamptz - interval '2 days'
    AND greatest(started_at, started_at) < $4::timestamptz
    AND started_at > $3::timestamptz - interval '2 days' AND started_at < $4::timestamptz
    AND last_event_at >= $3::timestamptz
    AND body::text NOT LIKE '%"flags":[]%' AND (body -> 'flags')::jsonb ? 'unheard'
ORDER BY started_at, source, call_id;
