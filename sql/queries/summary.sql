-- name: interval_rows
-- Sums of one grain per quarter of an hour. Served by the primary key.
SELECT at, queue, outcome,
    sum(contacts)::bigint AS contacts, sum(offered)::bigint AS offered, sum(answered)::bigint AS answered,
    sum(missed)::bigint AS missed, sum(within_sl)::bigint AS within_sl,
    sum(abandoned_within)::bigint AS abandoned_within, sum(waits_answered)::bigint AS waits_answered,
    sum(wait_answered_ms)::bigint AS wait_answered_ms, max(longest_wait_ms)::bigint AS longest_wait_ms
FROM rollups
WHERE tenant = $1 AND grain = $2 AND at >= $3::timestamptz AND at < $4::timestamptz
GROUP BY at, queue, outcome;

-- name: facts_of_calls
-- What each call of a window counts as, with the call that it is of. Served by calls_by_time; a call is at most two days
-- long.
SELECT c.source, c.call_id, c.started_at, c.customer, f.value AS fact
FROM calls c, json_array_elements(c.facts) AS f (value)
WHERE c.tenant = $1 AND c.started_at > $2::timestamptz - interval '2 days' AND c.started_at < $3::timestamptz
    AND c.last_event_at >= $2::timestamptz
    AND (f.value ->> 'at')::timestamptz >= $2::timestamptz AND (f.value ->> 'at')::timestamptz < $3::timestamptz
ORDER BY c.started_at, c.source, c.call_id;

-- name: calls_touching
-- Calls that went on at some time of a window. Served by calls_by_time.
SELECT body FROM calls
WHERE tenant = $1 AND started_at > $2::timestamptz - interval '2 days' AND started_at < $3::timestamptz
    AND last_event_at >= $2::timestamptz AND direction = ANY ($4::text[]);

-- name: missed_in
-- Missed calls (and requests to be called) of a window with what became of their customers, and when that was: the time
-- of a conversation, or of the hand that closed the item. Served by missed_by_time and the key of work_items; $4 begins
-- the items of hidden numbers.
SELECT m.source, m.call_id, m.started_at, m.customer, m.line, m.queue, m.outcome, m.fate, m.called_back_at,
    coalesce(m.reached_at, closed.at) AS settled_at
FROM missed_calls m
CROSS JOIN LATERAL (
    SELECT min((s.value ->> 'at')::timestamptz) AS at
    FROM work_items w, json_array_elements(w.body -> 'settlements') AS s (value)
    WHERE m.fate = 'written_off' AND w.tenant = m.tenant
        AND w.item = CASE WHEN m.customer = '' THEN $4::text || m.source || '/' || m.call_id ELSE m.customer END
        AND (s.value ->> 'at')::timestamptz >= m.started_at
) AS closed
WHERE m.tenant = $1 AND m.started_at >= $2::timestamptz AND m.started_at < $3::timestamptz
ORDER BY m.started_at, m.source, m.call_id;

-- name: rejected_in
-- Payloads that came in a window and could not be understood yet. Few rows: no index.
SELECT source, count(*) AS payloads, min(received_at) AS first_at, max(received_at) AS last_at FROM rejected
WHERE tenant = $1 AND received_at >= $2::timestamptz AND received_at < $3::timestamptz AND replayed_at IS NULL
GROUP BY source ORDER BY source;

-- name: gaps
-- Times within a window in which a source told nothing for at least $5 seconds. Served by the journal's primary key.
SELECT source, after, before FROM (
    SELECT source, at AS before,
        lag(at, 1, $3::timestamptz) OVER (PARTITION BY source ORDER BY at) AS after
    FROM (
        SELECT source, at FROM journal
        WHERE tenant = $1 AND source = ANY ($2::text[]) AND at >= $3::timestamptz AND at < $4::timestamptz
        UNION ALL
        SELECT unnest($2::text[]), $4::timestamptz
    ) AS told
) AS steps
WHERE before - after >= make_interval(secs => $5::float8)
ORDER BY after, source;

-- name: late_calls
-- Calls of which something that happened in a window came more than $5 seconds after it. Served by the journal's
-- primary key.
SELECT source, call_id FROM journal
WHERE tenant = $1 AND source = ANY ($2::text[]) AND at >= $3::timestamptz AND at < $4::timestamptz
    AND kind <> 'agent_state' AND received_at - at > make_interval(secs => $5::float8)
GROUP BY source, call_id ORDER BY min(at), source, call_id;

-- name: conflicting_in
-- Calls of a window whose facts disagree. Served by calls_by_time.
SELECT source, call_id FROM calls
WHERE tenant = $1 AND started_at >= $2::timestamptz AND started_at < $3::timestamptz
    AND body::text NOT LIKE '%"flags":[]%' AND json_array_length(body -> 'flags') > 0
ORDER BY started_at, source, call_id;

-- name: reconciled_in
-- Calls of a window whose webhooks were lost. Served by calls_by_time and the primary key.
SELECT c.source, c.call_id FROM calls c JOIN reconcile_found f USING (source, call_id)
WHERE c.tenant = $1 AND c.started_at >= $2::timestamptz AND c.started_at < $3::timestamptz
ORDER BY c.started_at, c.source, c.call_id;

-- name: open_at
-- Calls that had begun at a moment and had not ended. Served by calls_by_time; a call is at most two days long.
SELECT body FROM calls
WHERE tenant = $1 AND started_at > $2::timestamptz - interval '2 days' AND started_at < $2::timestamptz
    AND (ended_at IS NULL OR ended_at > $2::timestamptz) AND direction IN ('inbound', 'outbound')
ORDER BY started_at, source, call_id;

-- name: unheard_in
-- Calls of some sources of which an answer or the end was not heard, that may have ended from $3 to $4. Served by
-- calls_by_time; a call is at most two days long.
SELECT source, call_id, coalesce(ended_at, last_event_at) AS at FROM calls
WHERE tenant = $1 AND source = ANY ($2::text[])
    AND started_at > $3::timestamptz - interval '2 days' AND started_at < $4::timestamptz
    AND last_event_at >= $3::timestamptz
    AND body::text LIKE '%"unheard"%' AND (body -> 'flags')::jsonb ? 'unheard'
ORDER BY started_at, source, call_id;
