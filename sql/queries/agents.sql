-- name: put_pending
-- Calls and agents that have changed, in the transaction that changed them.
INSERT INTO agent_pending (tenants, sources, call_ids, first_at, last_at) VALUES ($1, $2, $3, $4, $5);

-- name: lock
-- One computes times of agents at a time; it sees what everybody committed whose row it takes.
SELECT pg_advisory_xact_lock(hashtext('callkpi.agent_times'));

-- name: try_lock
-- The same, for who can come again.
SELECT pg_try_advisory_xact_lock(hashtext('callkpi.agent_times'));

-- name: take_pending
-- The oldest changes.
DELETE FROM agent_pending WHERE id IN (SELECT id FROM agent_pending ORDER BY id LIMIT $1)
RETURNING tenants, sources, call_ids, first_at, last_at, EXISTS (SELECT FROM set_aside WHERE part = 'times') AS some_aside;

-- name: horizon
-- Up to when quarters are written.
SELECT until FROM agent_horizon;

-- name: set_horizon
-- Quarters are written up to here.
INSERT INTO agent_horizon (until) VALUES ($1) ON CONFLICT (one) DO UPDATE SET until = excluded.until;

-- name: forget_quarters
-- Forget what was written ahead from a moment on. Served by the primary key, once for each tenant.
DELETE FROM agent_times q USING day_spans t WHERE q.tenant = t.tenant AND q.at >= $1::timestamptz;

-- name: quarters_told
-- The quarters of an hour in which these agents' sources told of them, in spans of time. Served by the journal's index by
-- call.
SELECT DISTINCT wanted.tenant, wanted.source, wanted.agent, s.at
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[])
    AS wanted (tenant, source, agent, since, until)
CROSS JOIN LATERAL (
    SELECT date_bin('15 minutes', j.at, '2000-01-01 00:00Z') AS at FROM journal j
    WHERE j.tenant = wanted.tenant AND j.source = wanted.source AND j.call_id = 'agent:' || wanted.agent
        AND j.at BETWEEN wanted.since AND wanted.until AND j.kind = 'agent_state' OFFSET 0
) AS s;

-- name: calls
-- These calls as they are now; none of those that became part of another. Served by the primary keys.
SELECT k.tenant, k.source, k.call_id, c.outcome, c.last_event_at, c.legs, c.flags
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, call_id)
JOIN call_keys k USING (tenant, source, call_id)
CROSS JOIN LATERAL (
    SELECT e.outcome, e.last_event_at, e.body -> 'legs' AS legs, e.body -> 'flags' AS flags FROM calls e
    WHERE e.tenant = k.tenant AND e.source = k.source AND e.call_id = k.call_id AND e.started_at = k.started_at OFFSET 0
) AS c;

-- name: legs
-- The legs of these calls as they were written last.
SELECT l.* FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, call_id)
JOIN agent_legs l USING (tenant, source, call_id);

-- name: delete_legs
-- Legs that are gone.
DELETE FROM agent_legs l USING unnest($1::text[], $2::text[], $3::text[], $4::integer[]) AS gone (tenant, source, call_id, n)
WHERE (l.tenant, l.source, l.call_id, l.n) = (gone.tenant, gone.source, gone.call_id, gone.n);

-- name: write_legs
-- Legs that are new or have changed.
INSERT INTO agent_legs (tenant, source, call_id, n, agent_source, agent, queue, begin_ms, end_ms, spans)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::text[],
    $8::bigint[], $9::bigint[], $10::json[])
ON CONFLICT (tenant, source, call_id, n) DO UPDATE SET
    agent_source = excluded.agent_source, agent = excluded.agent, queue = excluded.queue, begin_ms = excluded.begin_ms, end_ms = excluded.end_ms,
    spans = excluded.spans;

-- name: present_at
-- Agents of whom something goes on at the end of the quarter that begins at $1. Served by agent_legs_by_time.
SELECT tenant, source, agent FROM agent_times q WHERE q.at = $1::timestamptz AND q.held::text <> '{}'
UNION
SELECT tenant, agent_source, agent FROM agent_legs WHERE end_ms > $2;

-- name: states_between
-- What these agents' sources told of them in spans of time; from one that came with a time that can't be nothing is known
-- of him. Served by the journal's primary key.
SELECT s.* FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[])
    AS wanted (tenant, source, agent, since, until)
CROSS JOIN LATERAL (
    SELECT wanted.tenant, wanted.source, wanted.agent, wanted.since, j.at,
        to_char(j.received_at AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISSUS') || j.event_id AS event_id, -- their order
        coalesce(j.body ->> 'queue', '') AS queue,
        CASE WHEN j.body ->> 'told_at' IS NULL THEN coalesce(j.body ->> 'state', '') ELSE 'offline' END AS state,
        coalesce(j.body ->> 'reason', '') AS reason, coalesce((j.body ->> 'wrap_ms')::bigint, 0) AS wrap
    FROM journal j
    WHERE j.tenant = wanted.tenant AND j.source = wanted.source AND j.call_id = 'agent:' || wanted.agent
        AND j.at >= wanted.since AND j.at < wanted.until AND j.kind = 'agent_state'
        -- A ring says that its member is there, where nothing better has told of him for a shift.
        AND (j.body ->> 'code' IS DISTINCT FROM 'SEEN' OR NOT EXISTS (
            SELECT 1 FROM journal b
            WHERE b.tenant = j.tenant AND b.source = j.source AND b.call_id = j.call_id AND b.kind = 'agent_state'
                AND b.at > j.at - interval '12 hours' AND b.at <= j.at + interval '2 seconds'
                AND b.body ->> 'queue' = j.body ->> 'queue' AND b.body ->> 'code' IS DISTINCT FROM 'SEEN'))
    OFFSET 0
) AS s;

-- name: legs_between
-- Legs of these agents that reach into spans of time. Served by agent_legs_by_end.
SELECT s.* FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[], $6::bigint[])
    AS wanted (tenant, source, agent, since, ends_after, begins_before)
CROSS JOIN LATERAL (
    SELECT l.tenant, l.agent_source AS source, l.agent, wanted.since, l.queue, l.begin_ms, l.end_ms, l.spans FROM agent_legs l
    WHERE l.tenant = wanted.tenant AND l.agent_source = wanted.source AND l.agent = wanted.agent
        AND l.end_ms > wanted.ends_after AND l.begin_ms < wanted.begins_before OFFSET 0
) AS s;

-- name: quarters_between
-- Quarters of these agents as they were written last. Served by agent_times_by_agent.
SELECT s.* FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[])
    AS wanted (tenant, source, agent, since, until)
CROSS JOIN LATERAL (
    SELECT wanted.since, q.* FROM agent_times q
    WHERE q.tenant = wanted.tenant AND q.source = wanted.source AND q.agent = wanted.agent
        AND q.at >= wanted.since - interval '15 minutes' AND q.at < wanted.until OFFSET 0
) AS s;

-- name: delete_quarters
-- Quarters in which nothing is left.
DELETE FROM agent_times q
USING unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS gone (tenant, source, agent, at)
WHERE (q.tenant, q.source, q.agent, q.at) = (gone.tenant, gone.source, gone.agent, gone.at);

-- name: write_quarters
-- Quarters that are new or have changed.
INSERT INTO agent_times
SELECT * FROM json_populate_recordset(NULL::agent_times, $1::json)
ON CONFLICT (tenant, at, source, agent) DO UPDATE SET
    available_ms = excluded.available_ms, ringing_ms = excluded.ringing_ms, talking_ms = excluded.talking_ms,
    hold_ms = excluded.hold_ms, wrap_up_ms = excluded.wrap_up_ms, paused_ms = excluded.paused_ms,
    busy_ms = excluded.busy_ms, logged_in_ms = excluded.logged_in_ms, outside_ms = excluded.outside_ms,
    outside_ringing_ms = excluded.outside_ringing_ms, paused = excluded.paused, spans = excluded.spans,
    held = excluded.held;

-- name: sums
-- Time in state of every agent id in whole quarters of an hour. Served by the primary key.
SELECT source, agent, sum(available_ms)::bigint AS available_ms, sum(ringing_ms)::bigint AS ringing_ms,
    sum(talking_ms)::bigint AS talking_ms, sum(hold_ms)::bigint AS hold_ms, sum(wrap_up_ms)::bigint AS wrap_up_ms,
    sum(paused_ms)::bigint AS paused_ms, sum(busy_ms)::bigint AS busy_ms, sum(logged_in_ms)::bigint AS logged_in_ms,
    sum(outside_ms)::bigint AS outside_ms, sum(outside_ringing_ms)::bigint AS outside_ringing_ms
FROM agent_times WHERE tenant = $1 AND at >= $2::timestamptz AND at < $3::timestamptz
GROUP BY source, agent;

-- name: reasons
-- Their pauses by reason.
SELECT q.source, q.agent, p.key AS reason, sum(p.value::bigint)::bigint AS ms
FROM agent_times q CROSS JOIN LATERAL json_each_text(q.paused) AS p
WHERE q.tenant = $1 AND q.at >= $2::timestamptz AND q.at < $3::timestamptz AND q.paused_ms > 0
GROUP BY q.source, q.agent, p.key;

-- name: spans_at
-- What every agent id did in some quarters. Served by the primary key.
SELECT source, agent, at, spans FROM agent_times WHERE tenant = $1 AND at = ANY ($2::timestamptz[]);

-- name: spans_of
-- What some agent ids did in each of many quarters. Served by agent_times_by_agent.
SELECT q.source, q.agent, q.at, q.spans
FROM unnest($2::text[], $3::text[]) AS wanted (source, agent)
JOIN agent_times q ON q.tenant = $1 AND q.source = wanted.source AND q.agent = wanted.agent
WHERE q.at >= $4::timestamptz AND q.at < $5::timestamptz;

-- name: spans_between
-- What every agent id did in a time, quarter by quarter. Served by the primary key.
SELECT source, agent, at, spans FROM agent_times
WHERE tenant = $1 AND at >= $2::timestamptz AND at < $3::timestamptz
ORDER BY source, agent, at;

-- name: telling
-- Sources that had said of anybody that he is logged in before $3, and told anything at all from $2 to $3: by the
-- journal, or ($4 is false) by what is known of agents. Served by the keys of agent_states, agent_times and the journal.
SELECT t.source FROM (SELECT DISTINCT source FROM agent_states WHERE tenant = $1) AS t
WHERE EXISTS (
    SELECT 1 FROM agent_states a CROSS JOIN LATERAL (
        SELECT 1 FROM agent_times q
        WHERE q.tenant = a.tenant AND q.source = a.source AND q.agent = a.agent AND q.at < $3::timestamptz
            AND q.logged_in_ms > 0
        LIMIT 1
    ) AS once
    WHERE a.tenant = $1 AND a.source = t.source
) AND CASE WHEN $4 THEN EXISTS (
    SELECT 1 FROM journal j
    WHERE j.tenant = $1 AND j.source = t.source AND j.at >= $2::timestamptz AND j.at < $3::timestamptz
) ELSE EXISTS (
    SELECT 1 FROM agent_times q
    WHERE q.tenant = $1 AND q.source = t.source AND q.at >= $2::timestamptz AND q.at < $3::timestamptz
) END;

-- name: ids
-- Every agent id that has a state or a leg, for checking.
SELECT tenant, agent_source AS source, agent FROM agent_legs
UNION SELECT tenant, source, agent FROM agent_states
UNION SELECT tenant, source, agent FROM agent_times;

-- name: has_pending
-- Whether anything waits to be computed.
SELECT EXISTS (SELECT 1 FROM agent_pending);

-- name: pending_keys
-- The calls and agents that wait to be computed.
SELECT DISTINCT k.tenant, k.source, k.call_id
FROM agent_pending p CROSS JOIN LATERAL unnest(p.tenants, p.sources, p.call_ids) AS k (tenant, source, call_id);

-- name: newest_name
-- The number of the name that was seen last. Served by names_by_number.
SELECT max(number) FROM names;

-- name: twins
-- Agents whose own id several sources of a tenant use, in the order in which they were first seen.
SELECT n.tenant, n.name FROM names n JOIN (
    SELECT tenant, bare FROM (
        SELECT tenant, regexp_replace(name, '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}:', '') AS bare
        FROM names WHERE kind = 'agent' AND name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}:'
    ) AS keys GROUP BY tenant, bare HAVING count(*) > 1
) AS twins ON twins.tenant = n.tenant
    AND twins.bare = regexp_replace(n.name, '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}:', '')
WHERE n.kind = 'agent' AND n.name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}:'
ORDER BY n.number;

-- name: first_of
-- The first moment that is known of an agent, in milliseconds since 1970.
SELECT least(
    (SELECT min(begin_ms) FROM agent_legs WHERE (tenant, agent_source, agent) = ($1, $2, $3)),
    (SELECT floor(extract(epoch FROM min(at)) * 1000)::bigint FROM journal
     WHERE tenant = $1 AND source = $2 AND call_id = 'agent:' || $3 AND kind = 'agent_state')
);
