-- name: rollup_rows
-- Exact sums of whole quarters of an hour, by the dimensions of one grain. Served by the primary key.
SELECT queue, agent, line, direction, outcome,
    sum(contacts)::bigint AS contacts, sum(offered)::bigint AS offered, sum(queued)::bigint AS queued,
    sum(rung)::bigint AS rung, sum(answered)::bigint AS answered, sum(talked)::bigint AS talked,
    sum(handled)::bigint AS handled, sum(missed)::bigint AS missed, sum(made)::bigint AS made,
    sum(reached)::bigint AS reached, sum(not_reached)::bigint AS not_reached, sum(within_sl)::bigint AS within_sl,
    sum(abandoned_within)::bigint AS abandoned_within, sum(ring_no_answer)::bigint AS ring_no_answer,
    sum(transferred)::bigint AS transferred, sum(waits)::bigint AS waits, sum(wait_ms)::bigint AS wait_ms,
    sum(waits_answered)::bigint AS waits_answered, sum(wait_answered_ms)::bigint AS wait_answered_ms,
    sum(talks)::bigint AS talks, sum(talk_ms)::bigint AS talk_ms, sum(holds)::bigint AS holds,
    sum(hold_ms)::bigint AS hold_ms, sum(hold_in_talk_ms)::bigint AS hold_in_talk_ms, sum(wraps)::bigint AS wraps, sum(wrap_ms)::bigint AS wrap_ms,
    max(longest_wait_ms)::bigint AS longest_wait_ms
FROM rollups
WHERE tenant = $1 AND grain = $2 AND at >= $3::timestamptz AND at < $4::timestamptz
GROUP BY queue, agent, line, direction, outcome;

-- name: agent_rows
-- Pauses and log-ins of a window of whole quarters of an hour.
SELECT source, agent, sum(pauses)::bigint AS pauses, sum(resumes)::bigint AS resumes,
       sum(logins)::bigint AS logins, sum(logouts)::bigint AS logouts
FROM agent_rollups WHERE tenant = $1 AND at >= $2::timestamptz AND at < $3::timestamptz
GROUP BY source, agent;

-- name: open_missed
-- Customers nobody has spoken to since we missed them, oldest first. One row per customer; a hidden number can't
-- be matched, so each of its calls is a row. Served by missed_open.
SELECT
    CASE WHEN customer = '' THEN '' ELSE customer END AS customer,
    min(started_at) AS first_missed_at, max(started_at) AS last_missed_at, count(*) AS calls,
    max(called_back_at) AS called_back_at,
    CASE WHEN bool_or(fate = 'called_back') THEN 'called_back' ELSE 'waiting' END AS fate,
    (array_agg(line ORDER BY started_at DESC))[1] AS line,
    (array_agg(queue ORDER BY started_at DESC))[1] AS queue,
    (array_agg(outcome ORDER BY started_at DESC))[1] AS outcome,
    (array_agg(source || '/' || call_id ORDER BY started_at DESC))[1] AS last_call
FROM missed_calls
WHERE tenant = $1 AND fate IN ('waiting', 'called_back') AND started_at >= $2::timestamptz
GROUP BY customer, CASE WHEN customer = '' THEN source || '/' || call_id ELSE '' END
ORDER BY min(started_at) LIMIT $3;

-- name: missed_waiting
-- The work list in numbers, per queue of the last miss: how many customers wait, since when the oldest one.
SELECT queue, count(*) AS customers, min(first_missed_at) AS oldest FROM (
    SELECT (array_agg(queue ORDER BY started_at DESC))[1] AS queue, min(started_at) AS first_missed_at
    FROM missed_calls
    WHERE tenant = $1 AND fate IN ('waiting', 'called_back') AND started_at >= $2::timestamptz
    GROUP BY customer, CASE WHEN customer = '' THEN source || '/' || call_id ELSE '' END
) AS items GROUP BY queue;

-- name: list_calls
-- Calls of a window, newest first, by any of a few properties, behind a position ($11 to $13; at first the window's
-- end). Served by calls_by_time and calls_by_customer.
SELECT source, call_id, started_at, body FROM calls
WHERE tenant = $1 AND started_at >= $2::timestamptz AND started_at < $3::timestamptz
    AND started_at <= $11::timestamptz AND (started_at < $11::timestamptz OR (source, call_id) > ($12::text, $13::text))
    AND ($4::text IS NULL OR outcome = $4) AND ($5::text IS NULL OR direction = $5)
    AND ($6::text[] IS NULL OR line = ANY ($6)) AND ($7::text IS NULL OR customer = $7)
    AND ($8::text[] IS NULL OR EXISTS (
        SELECT FROM json_array_elements(body -> 'entries') AS e (value) WHERE e.value ->> 'queue' = ANY ($8)
    ))
    AND ($9::text[] IS NULL OR EXISTS (
        SELECT FROM json_array_elements(body -> 'legs') AS l (value)
        WHERE l.value ->> 'agent' = ANY ($9) OR source || ':' || (l.value ->> 'agent') = ANY ($9)
    ))
ORDER BY started_at DESC, source, call_id LIMIT $10;

-- name: calls_onward
-- The same calls in the order of time, for exports.
SELECT source, call_id, started_at, body FROM calls
WHERE tenant = $1 AND started_at >= $2::timestamptz AND started_at < $3::timestamptz
    AND started_at >= $11::timestamptz AND (started_at > $11::timestamptz OR (source, call_id) > ($12::text, $13::text))
    AND ($4::text IS NULL OR outcome = $4) AND ($5::text IS NULL OR direction = $5)
    AND ($6::text[] IS NULL OR line = ANY ($6)) AND ($7::text IS NULL OR customer = $7)
    AND ($8::text[] IS NULL OR EXISTS (
        SELECT FROM json_array_elements(body -> 'entries') AS e (value) WHERE e.value ->> 'queue' = ANY ($8)
    ))
    AND ($9::text[] IS NULL OR EXISTS (
        SELECT FROM json_array_elements(body -> 'legs') AS l (value)
        WHERE l.value ->> 'agent' = ANY ($9) OR source || ':' || (l.value ->> 'agent') = ANY ($9)
    ))
ORDER BY started_at, source, call_id LIMIT $10;

-- name: missed_onward
-- Missed calls of a window in the order of time, with what became of each customer, behind a position. Served by
-- missed_by_time.
SELECT source, call_id, started_at, customer, line, queue, outcome, called_back_at, reached_at,
    fate_at(fate, started_at, $4::timestamptz) AS fate
FROM missed_calls
WHERE tenant = $1 AND started_at >= $2::timestamptz AND started_at < $3::timestamptz
    AND started_at >= $6::timestamptz AND (started_at > $6::timestamptz OR (source, call_id) > ($7::text, $8::text))
ORDER BY started_at, source, call_id LIMIT $5;

-- name: agents_now
-- The state of a tenant's agents in every queue, since when, and why. Served by the primary key.
SELECT tenant, source, agent, queue, state, reason, at FROM agent_states WHERE tenant = $1;

-- name: rejected_page
-- Payloads that could not be understood, newest first. Served by the primary key.
SELECT id, source, received_at, media_type, reason, replayed_at, length(payload) AS bytes FROM rejected
WHERE tenant = $1 AND id < $2 ORDER BY id DESC LIMIT $3;

-- name: rejected_one
-- One of them as it came.
SELECT id, source, received_at, media_type, reason, replayed_at, length(payload) AS bytes, payload FROM rejected
WHERE tenant = $1 AND id = $2;

-- name: key_of
-- Where a call is: under its own key, or under that of the call that it is one with. Served by primary keys.
SELECT coalesce(s.lead_source, k.source) AS source, coalesce(s.lead_call_id, k.root) AS root,
    coalesce(l.started_at, r.started_at) AS started_at, k.first_at, k.last_at
FROM call_keys k JOIN call_keys r ON r.tenant = k.tenant AND r.source = k.source AND r.call_id = k.root
LEFT JOIN same_call_sides s ON s.tenant = k.tenant AND s.source = k.source AND s.call_id = k.root AND s.rule <> ''
LEFT JOIN same_call_sides l ON l.tenant = s.tenant AND l.source = s.lead_source AND l.call_id = s.lead_call_id
WHERE k.tenant = $1 AND k.source = $2 AND k.call_id = $3;

-- name: call_at
-- One call. Served by the primary key of one partition.
SELECT body, facts FROM calls WHERE tenant = $1 AND source = $2 AND call_id = $3 AND started_at = $4;

-- name: open_calls
-- Calls that go on now. Served by calls_open.
SELECT tenant, body FROM calls WHERE outcome = 'open';

-- name: agent_states
-- The state of every agent in every queue.
SELECT tenant, source, agent, queue, state, reason FROM agent_states;

-- name: counters
-- Every counter, in the order in which they were first seen.
SELECT tenant, metric, queue, agent, line, direction, outcome, value, buckets FROM counters ORDER BY number;

-- name: names
-- Names in the order in which they were first seen.
SELECT tenant, kind, name FROM names ORDER BY number;

-- name: names_of
-- A tenant's names of one kind in the order in which they were first seen. Served by the primary key.
SELECT name FROM names WHERE tenant = $1 AND kind = $2 ORDER BY number;

-- name: health_counters
-- The daemon's own counters.
SELECT metric, source, label, value, buckets FROM health_counters;

-- name: add_health
-- Add what one process counted since the last time.
INSERT INTO health_counters AS h (metric, source, label, value, buckets)
SELECT metric, source, label, value, buckets FROM jsonb_populate_recordset(NULL::health_counters, $1::jsonb)
ORDER BY metric, source, label
ON CONFLICT (metric, source, label) DO UPDATE
    SET value = h.value + excluded.value, buckets = add_arrays(h.buckets, excluded.buckets);

-- name: note_sources
-- When each source last spoke.
INSERT INTO source_status AS s (source, last_event_at, last_received_at)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS n (source, event_at, received_at)
ORDER BY n.source
ON CONFLICT (source) DO UPDATE SET
    last_event_at = greatest(s.last_event_at, excluded.last_event_at),
    last_received_at = greatest(s.last_received_at, excluded.last_received_at);

-- name: source_status
-- When each source last spoke.
SELECT source, last_event_at, last_received_at FROM source_status;

-- name: all_facts
-- The facts of every call, for checking the rollups against them.
SELECT tenant, facts FROM calls;

-- name: all_rollups
-- Every rollup row that is not empty.
SELECT * FROM rollups WHERE contacts <> 0;

-- name: wait_differences
-- Waits since a time that are not what the calls give, for the doctor.
SELECT tenant, entered_at, source, call_id FROM (
    (SELECT c.tenant, w.entered_at, c.source, c.call_id, w.queue, w.wait_ms
     FROM calls c CROSS JOIN LATERAL waits_of(c.facts) AS w WHERE w.entered_at >= $1::timestamptz
     EXCEPT SELECT tenant, entered_at, source, call_id, queue, wait_ms FROM waits)
    UNION ALL
    (SELECT tenant, entered_at, source, call_id, queue, wait_ms FROM waits WHERE entered_at >= $1::timestamptz
     EXCEPT SELECT c.tenant, w.entered_at, c.source, c.call_id, w.queue, w.wait_ms
     FROM calls c CROSS JOIN LATERAL waits_of(c.facts) AS w)
) AS differences ORDER BY entered_at, source, call_id LIMIT 20;

-- name: call_page
-- Keys of calls in order, a page at a time, for checking calls against the journal.
SELECT tenant, source, call_id, started_at, first_at, last_at FROM call_keys
WHERE root = call_id AND (tenant, source, call_id) > ($1, $2, $3) AND started_at IS NOT NULL
ORDER BY tenant, source, call_id LIMIT $4;

-- name: ready
-- Whether the database answers and how far its schema is.
SELECT max(migration_id) AS migration FROM public._pogo_migration WHERE schema_name = 'callkpi';

-- name: count_calls
-- How many calls there are.
SELECT count(*) FROM calls;
