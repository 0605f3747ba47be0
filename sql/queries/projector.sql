-- name: take_pending
-- Take the oldest groups that no other projector holds, up to $1 groups and until they have $2 streams; $3: suspects; $4: also
-- big groups.
-- They come back by rollback if this projector dies.
DELETE FROM pending p USING take_pending($1::integer, $2::integer, $3::boolean, $4::boolean) AS taken WHERE p.id = taken.id
RETURNING taken.*, (SELECT before FROM horizons WHERE what = 'journal') AS horizon,
    EXISTS (SELECT FROM set_aside WHERE part = 'calls') AS some_aside;

-- name: last_pending
-- The newest group that waits or is being projected.
SELECT max(id) FROM pending;

-- name: left_by_others
-- A group up to this one that still waits once those who hold such groups are done: it came back from one who died.
-- Groups that they have projected are gone by then, and are not seen.
SELECT id FROM pending WHERE id <= $1 ORDER BY id LIMIT 1 FOR KEY SHARE;

-- name: roots_of
-- The calls that these are part of. Served by the primary key.
SELECT k.tenant, k.source, k.call_id, k.root
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, call_id)
JOIN call_keys k USING (tenant, source, call_id);

-- name: members_of
-- Every key that is part of these calls. Served by call_keys_joined and the primary key.
SELECT k.tenant, k.source, k.call_id, k.root
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, root)
JOIN call_keys k ON k.tenant = wanted.tenant AND k.source = wanted.source AND k.root = wanted.root
    AND k.root <> k.call_id;

-- name: lock_calls
-- Lock the calls in the order given, creating those that are new, and widen the spans of their events.
INSERT INTO call_keys AS k (tenant, source, call_id, root, first_at, last_at)
SELECT tenant, source, call_id, call_id, first_at, last_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[])
    WITH ORDINALITY AS touched (tenant, source, call_id, first_at, last_at, n)
ORDER BY n
ON CONFLICT (tenant, source, call_id) DO UPDATE
    SET first_at = least(k.first_at, excluded.first_at), last_at = greatest(k.last_at, excluded.last_at)
RETURNING tenant, source, call_id, root, first_at, last_at, started_at;

-- name: events_of
-- All events of these calls within the span that covers them, of each at most $6. Served by the primary key, once for each call: LATERAL
-- with OFFSET 0 keeps a planner without statistics from reading the whole month instead.
SELECT j.* FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, call_id)
CROSS JOIN LATERAL (
    SELECT e.tenant, e.source, e.call_id, e.kind, e.at, e.event_id, e.received_at, e.body FROM journal e
    WHERE e.tenant = wanted.tenant AND e.source = wanted.source AND e.call_id = wanted.call_id
        AND e.at BETWEEN $4::timestamptz AND $5::timestamptz LIMIT $6 OFFSET 0
) AS j;

-- name: linked_to
-- The calls that these are linked to, and those that these are linked to, and so on: at most $4. Served by the journal's
-- primary key.
WITH RECURSIVE reached (tenant, source, call_id) AS (
    SELECT tenant, source, call_id FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, call_id)
    UNION
    SELECT j.tenant, j.source, j.body ->> 'linked_to' FROM reached r JOIN journal j USING (tenant, source, call_id)
    WHERE j.kind = 'linked' AND j.body ->> 'linked_to' <> ''
)
SELECT tenant, source, call_id FROM reached LIMIT $4;

-- name: calls_at
-- The rows of these calls as they were. Served by the primary key of one partition each: the start is compared outside
-- of the subquery, or calls_by_time would look as good to the planner, and is not where many calls start at once.
SELECT c.tenant, c.source, c.call_id, c.started_at, c.customer, c.direction, c.outcome, c.answered_at, c.line,
       c.body -> 'entries' -> -1 ->> 'queue' AS queue, c.facts,
       CASE WHEN $7::boolean THEN c.body -> 'fields' END AS fields, CASE WHEN $7 THEN c.body -> 'crm' END AS crm
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS wanted (tenant, source, call_id, started_at)
CROSS JOIN LATERAL (
    SELECT * FROM calls k
    WHERE k.tenant = wanted.tenant AND k.source = wanted.source AND k.call_id = wanted.call_id
        AND k.started_at BETWEEN $5::timestamptz AND $6::timestamptz OFFSET 0
) AS c
WHERE c.started_at = wanted.started_at;

-- name: delete_calls
-- Remove rows that moved to another start or into another call, before they are written again. A call has one row, so
-- the span of all their starts is enough to find the partitions. Served by the primary key.
DELETE FROM calls c
USING unnest($1::text[], $2::text[], $3::text[]) AS gone (tenant, source, call_id)
WHERE c.tenant = gone.tenant AND c.source = gone.source AND c.call_id = gone.call_id
    AND c.started_at BETWEEN $4::timestamptz AND $5::timestamptz;

-- name: write_calls
-- Write calls, new or again.
INSERT INTO calls (tenant, source, call_id, started_at, last_event_at, answered_at, ended_at, direction, customer,
                   line, outcome, body, facts)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[],
    $8::text[], $9::text[], $10::text[], $11::text[], $12::json[], $13::json[]
)
ON CONFLICT (tenant, source, call_id, started_at) DO UPDATE SET
    last_event_at = excluded.last_event_at, answered_at = excluded.answered_at, ended_at = excluded.ended_at,
    direction = excluded.direction, customer = excluded.customer, line = excluded.line, outcome = excluded.outcome,
    body = excluded.body, facts = excluded.facts;

-- name: delete_waits
-- Waits that did not happen after all. Served by the primary key.
DELETE FROM waits w
USING unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[]) AS gone (tenant, entered_at, source, call_id, queue)
WHERE (w.tenant, w.entered_at, w.source, w.call_id, w.queue)
    = (gone.tenant, gone.entered_at, gone.source, gone.call_id, gone.queue);

-- name: write_waits
-- Waits, new or again, in key order.
INSERT INTO waits (tenant, entered_at, source, call_id, queue, wait_ms)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::bigint[])
ON CONFLICT (tenant, entered_at, source, call_id, queue) DO UPDATE SET wait_ms = excluded.wait_ms;

-- name: write_keys
-- Where the calls are now, and which are part of which.
UPDATE call_keys k SET root = n.root, started_at = n.started_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
    AS n (tenant, source, call_id, root, started_at)
WHERE (k.tenant, k.source, k.call_id) = (n.tenant, n.source, n.call_id);

-- name: add_rollups
-- Add differences to the rollups, in key order. The longest wait only rises here; see lower_longest_wait. Returns the rows
-- that count nothing any more.
WITH added AS (
INSERT INTO rollups AS r (
    tenant, grain, at, queue, agent, line, direction, outcome,
    contacts, offered, queued, rung, answered, talked, handled, missed, made, reached, not_reached, within_sl, abandoned_within,
    ring_no_answer, transferred, waits, wait_ms, waits_answered, wait_answered_ms, talks, talk_ms, holds, hold_ms,
    hold_in_talk_ms, wraps, wrap_ms, longest_wait_ms, wait_buckets, talk_buckets, hold_buckets, wrap_buckets
)
SELECT
    tenant, grain, at, queue, agent, line, direction, outcome,
    contacts, offered, queued, rung, answered, talked, handled, missed, made, reached, not_reached, within_sl, abandoned_within,
    ring_no_answer, transferred, waits, wait_ms, waits_answered, wait_answered_ms, talks, talk_ms, holds, hold_ms,
    hold_in_talk_ms, wraps, wrap_ms, longest_wait_ms, wait_buckets, talk_buckets, hold_buckets, wrap_buckets
FROM jsonb_populate_recordset(NULL::rollups, $1::jsonb)
ON CONFLICT (tenant, grain, at, queue, agent, line, direction, outcome) DO UPDATE SET
    contacts = r.contacts + excluded.contacts,
    offered = r.offered + excluded.offered,
    queued = r.queued + excluded.queued,
    rung = r.rung + excluded.rung,
    answered = r.answered + excluded.answered,
    talked = r.talked + excluded.talked,
    handled = r.handled + excluded.handled,
    missed = r.missed + excluded.missed,
    made = r.made + excluded.made,
    reached = r.reached + excluded.reached,
    not_reached = r.not_reached + excluded.not_reached,
    within_sl = r.within_sl + excluded.within_sl,
    abandoned_within = r.abandoned_within + excluded.abandoned_within,
    ring_no_answer = r.ring_no_answer + excluded.ring_no_answer,
    transferred = r.transferred + excluded.transferred,
    waits = r.waits + excluded.waits,
    wait_ms = r.wait_ms + excluded.wait_ms,
    waits_answered = r.waits_answered + excluded.waits_answered,
    wait_answered_ms = r.wait_answered_ms + excluded.wait_answered_ms,
    talks = r.talks + excluded.talks,
    talk_ms = r.talk_ms + excluded.talk_ms,
    holds = r.holds + excluded.holds,
    hold_ms = r.hold_ms + excluded.hold_ms,
    hold_in_talk_ms = r.hold_in_talk_ms + excluded.hold_in_talk_ms,
    wraps = r.wraps + excluded.wraps,
    wrap_ms = r.wrap_ms + excluded.wrap_ms,
    longest_wait_ms = greatest(r.longest_wait_ms, excluded.longest_wait_ms),
    wait_buckets = add_arrays(r.wait_buckets, excluded.wait_buckets),
    talk_buckets = add_arrays(r.talk_buckets, excluded.talk_buckets),
    hold_buckets = add_arrays(r.hold_buckets, excluded.hold_buckets),
    wrap_buckets = add_arrays(r.wrap_buckets, excluded.wrap_buckets)
RETURNING r.ctid AS place, r.tenant, r.grain, r.at, r.queue, r.agent, r.line, r.direction, r.outcome, r.contacts
)
SELECT place, tenant, grain, at, queue, agent, line, direction, outcome FROM added WHERE contacts = 0;

-- name: remove_emptied
-- Remove rows that this transaction has just emptied, and so holds: nobody is waited for.
DELETE FROM rollups WHERE ctid = ANY ($1::tid[]);

-- name: facts_near
-- Facts that lie in one quarter of an hour, to find its longest wait again after a correction. Served by calls_by_time.
SELECT f.value AS fact
FROM calls_going($1, $2::timestamptz, $3::timestamptz) AS c, json_array_elements(c.facts) AS f (value)
WHERE (f.value ->> 'at')::timestamptz >= $2::timestamptz AND (f.value ->> 'at')::timestamptz < $3::timestamptz;

-- name: set_longest_wait
-- The longest wait of a rollup row whose longest was corrected away.
UPDATE rollups SET longest_wait_ms = $9
WHERE (tenant, grain, at, queue, agent, line, direction, outcome) = ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: add_counters
-- Add growth to the counters, in key order.
INSERT INTO counters AS c (tenant, metric, queue, agent, line, direction, outcome, value, buckets)
SELECT tenant, metric, queue, agent, line, direction, outcome, value, buckets
FROM jsonb_populate_recordset(NULL::counters, $1::jsonb)
ON CONFLICT (tenant, metric, queue, agent, line, direction, outcome) DO UPDATE SET
    value = c.value + excluded.value, buckets = add_arrays(c.buckets, excluded.buckets);

-- name: add_names
-- Remember names in the order in which they are first seen.
INSERT INTO names (tenant, kind, name)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
ON CONFLICT DO NOTHING;

-- name: lock_customers
-- One projector at a time decides on the fate of a customer. In the order of the locks' numbers.
SELECT pg_advisory_xact_lock(n) FROM (
    SELECT DISTINCT hashtextextended(tenant || chr(31) || customer, 7) AS n
    FROM unnest($1::text[], $2::text[]) AS wanted (tenant, customer) ORDER BY 1
) AS ordered;

-- name: customers_missed
-- Which of these customers we missed since a time. Served by missed_by_customer.
SELECT m.tenant, m.customer
FROM unnest($1::text[], $2::text[]) AS wanted (tenant, customer)
CROSS JOIN LATERAL (
    SELECT * FROM missed_calls k
    WHERE k.tenant = wanted.tenant AND k.customer = wanted.customer AND k.started_at >= $3::timestamptz OFFSET 0
) AS m
GROUP BY m.tenant, m.customer;

-- name: contacts_of
-- The calls of these customers since a time. Served by calls_by_customer.
SELECT c.tenant, c.customer, c.source, c.call_id, c.direction, c.started_at, c.answered_at, c.outcome, c.line,
       c.body -> 'entries' -> -1 ->> 'queue' AS queue
FROM unnest($1::text[], $2::text[]) AS wanted (tenant, customer)
CROSS JOIN LATERAL (
    SELECT * FROM calls k
    WHERE k.tenant = wanted.tenant AND k.customer = wanted.customer AND k.customer <> ''
        AND k.started_at >= $3::timestamptz AND k.started_at < $4::timestamptz OFFSET 0
) AS c;

-- name: delete_missed
-- Calls that are not missed any more.
DELETE FROM missed_calls m
USING unnest($1::text[], $2::text[], $3::text[]) AS gone (tenant, source, call_id)
WHERE (m.tenant, m.source, m.call_id) = (gone.tenant, gone.source, gone.call_id);

-- name: write_missed
-- Missed calls with the fate of their customers.
INSERT INTO missed_calls AS m (tenant, source, call_id, started_at, customer, line, queue, outcome, fate,
                               called_back_at, reached_at)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::timestamptz[], $11::timestamptz[]
)
ON CONFLICT (tenant, source, call_id) DO UPDATE SET
    started_at = excluded.started_at, customer = excluded.customer, line = excluded.line, queue = excluded.queue,
    outcome = excluded.outcome, fate = excluded.fate, called_back_at = excluded.called_back_at,
    reached_at = excluded.reached_at
WHERE (m.started_at, m.customer, m.line, m.queue, m.outcome, m.fate, m.called_back_at, m.reached_at)
    IS DISTINCT FROM (excluded.started_at, excluded.customer, excluded.line, excluded.queue, excluded.outcome,
                      excluded.fate, excluded.called_back_at, excluded.reached_at);

-- name: write_agent_states
-- The latest state of each agent in each queue, from the events of a span, whatever their order of arrival. Of one
-- moment (queue_log has whole seconds) it is the one that came last: it was written last. One that came while our own
-- clock was ahead is the latest until the next one comes.
INSERT INTO agent_states AS s (tenant, source, agent, queue, at, event_id, state, reason, received_at)
SELECT DISTINCT ON (j.tenant, j.source, j.body ->> 'agent', coalesce(j.body ->> 'queue', ''))
    j.tenant, j.source, j.body ->> 'agent', coalesce(j.body ->> 'queue', ''), j.at, j.event_id,
    j.body ->> 'state', coalesce(j.body ->> 'reason', ''), j.received_at
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, call_id)
JOIN journal j USING (tenant, source, call_id)
WHERE j.at BETWEEN $4::timestamptz AND $5::timestamptz AND j.kind = 'agent_state'
    AND j.body ->> 'code' IS DISTINCT FROM 'SEEN'
ORDER BY j.tenant, j.source, j.body ->> 'agent', coalesce(j.body ->> 'queue', ''), j.at DESC,
    j.received_at DESC, j.event_id DESC
ON CONFLICT (tenant, source, agent, queue) DO UPDATE SET
    at = excluded.at, event_id = excluded.event_id, state = excluded.state, reason = excluded.reason,
    received_at = excluded.received_at
WHERE (s.at, coalesce(s.received_at, '-infinity'), s.event_id) < (excluded.at, excluded.received_at, excluded.event_id)
    OR s.at > excluded.received_at + interval '1 day'
    OR (s.event_id LIKE '%.SEEN' AND s.at < excluded.at + interval '12 hours');

-- name: write_members_seen
-- Members who were rung and of whom nothing else has told for a shift: the configuration alone put them into the queue.
INSERT INTO agent_states AS s (tenant, source, agent, queue, at, event_id, state, reason, received_at)
SELECT DISTINCT ON (j.tenant, j.source, j.body ->> 'agent', coalesce(j.body ->> 'queue', ''))
    j.tenant, j.source, j.body ->> 'agent', coalesce(j.body ->> 'queue', ''), j.at, j.event_id,
    j.body ->> 'state', '', j.received_at
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, call_id)
JOIN journal j USING (tenant, source, call_id)
WHERE j.at BETWEEN $4::timestamptz AND $5::timestamptz AND j.kind = 'agent_state' AND j.body ->> 'code' = 'SEEN'
ORDER BY j.tenant, j.source, j.body ->> 'agent', coalesce(j.body ->> 'queue', ''), j.at DESC, j.event_id DESC
ON CONFLICT (tenant, source, agent, queue) DO UPDATE SET
    at = excluded.at, event_id = excluded.event_id, state = excluded.state, reason = excluded.reason,
    received_at = excluded.received_at
WHERE (s.event_id LIKE '%.SEEN' AND (s.at, s.event_id) < (excluded.at, excluded.event_id))
    OR (s.event_id NOT LIKE '%.SEEN' AND s.at <= excluded.at - interval '12 hours');

-- name: write_agent_rollups
-- Count the quarters of an hour that the events of a span touch again, from the journal.
INSERT INTO agent_rollups (tenant, source, agent, at, pauses, resumes, logins, logouts)
SELECT j.tenant, j.source, j.body ->> 'agent', date_bin('15 minutes', j.at, '2000-01-01 00:00Z'),
    count(*) FILTER (WHERE j.body ->> 'code' = 'PAUSE'
                     OR (j.body ->> 'code' IS NULL AND j.body ->> 'state' = 'paused')),
    count(*) FILTER (WHERE j.body ->> 'code' = 'UNPAUSE'),
    count(*) FILTER (WHERE j.body ->> 'code' = 'ADDMEMBER'),
    count(*) FILTER (WHERE j.body ->> 'code' = 'REMOVEMEMBER'
                     OR (j.body ->> 'code' IS NULL AND j.body ->> 'state' = 'offline'))
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, call_id)
JOIN journal j USING (tenant, source, call_id)
WHERE j.kind = 'agent_state'
    AND j.at >= date_bin('15 minutes', $4::timestamptz, '2000-01-01 00:00Z')
    AND j.at < date_bin('15 minutes', $5::timestamptz, '2000-01-01 00:00Z') + interval '15 minutes'
GROUP BY 1, 2, 3, 4
ON CONFLICT (tenant, at, source, agent) DO UPDATE SET
    pauses = excluded.pauses, resumes = excluded.resumes, logins = excluded.logins, logouts = excluded.logouts;

-- name: lock_questions_shared
-- Nobody looks for questions that a new state answers while somebody asks.
SELECT pg_advisory_xact_lock_shared(hashtext('callkpi.member_questions'));

-- name: lock_questions
-- Wait until those who ask have written their questions down.
SELECT pg_advisory_xact_lock(hashtext('callkpi.member_questions'));

-- name: restarted
-- Put up for folding again what went on in sources when they were restarted. Served by calls_open.
INSERT INTO pending (tenants, sources, call_ids, first_at, last_at)
SELECT array_agg(k.tenant), array_agg(k.source), array_agg(k.call_id), array_agg(k.first_at), array_agg(k.last_at)
FROM (
    SELECT DISTINCT c.tenant, c.source, c.call_id
    FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS restart (tenant, source, at)
    JOIN calls c ON c.tenant = restart.tenant AND c.source = restart.source
    WHERE c.outcome = 'open'
) AS old
JOIN call_keys k USING (tenant, source, call_id)
HAVING count(*) > 0;

-- name: members_at
-- The last state of each member of these queues at a moment. Where the last one of all is not later, it is that one, or
-- one behind it that is journalled and not projected yet. Served by the journal's primary key.
SELECT m.* FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS asked (tenant, source, queue, at)
JOIN agent_states s USING (tenant, source, queue)
CROSS JOIN LATERAL (
    SELECT e.tenant, e.source, e.call_id, e.kind, e.at, e.event_id, e.received_at, e.body FROM journal e
    WHERE e.tenant = asked.tenant AND e.source = asked.source AND e.call_id = 'agent:' || s.agent
        AND e.at BETWEEN CASE WHEN s.at <= asked.at THEN s.at ELSE asked.at - interval '30 days' END AND asked.at
        AND e.kind = 'agent_state' AND e.body ->> 'queue' = asked.queue
    ORDER BY e.at DESC, e.received_at DESC, e.event_id DESC LIMIT 1
) AS m;

-- name: write_questions
-- Calls that depend on the states of a queue's members at a moment.
INSERT INTO member_questions (tenant, source, queue, at, call_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[])
ON CONFLICT DO NOTHING;

-- name: ask_again
-- Put calls up for folding again that depend on a state that came after them. In live order there are none.
INSERT INTO pending (tenants, sources, call_ids, first_at, last_at)
SELECT array_agg(tenant), array_agg(source), array_agg(call_id), array_agg(first_at), array_agg(last_at)
FROM (
    SELECT DISTINCT k.tenant, k.source, k.call_id, k.first_at, k.last_at
    FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, source, call_id)
    JOIN journal j USING (tenant, source, call_id)
    JOIN member_questions q ON q.tenant = j.tenant AND q.source = j.source AND q.queue = j.body ->> 'queue'
        AND q.at >= j.at
    JOIN call_keys k ON k.tenant = q.tenant AND k.source = q.source AND k.call_id = q.call_id
    WHERE j.at BETWEEN $4::timestamptz AND $5::timestamptz AND j.kind = 'agent_state'
) AS asking
HAVING count(*) > 0;

-- name: forget_questions
-- States don't come that late.
DELETE FROM member_questions WHERE at < now() - interval '30 days';

-- name: lapsed
-- Put open calls whose end never came up for folding again; the fold marks them expired. Served by calls_open.
INSERT INTO pending (tenants, sources, call_ids, first_at, last_at)
SELECT array_agg(k.tenant), array_agg(k.source), array_agg(k.call_id), array_agg(k.first_at), array_agg(k.last_at)
FROM (
    SELECT c.tenant, c.source, c.call_id FROM calls c
    WHERE c.outcome = 'open' AND c.tenant = $1 AND c.last_event_at < now() - $2::interval LIMIT 1000
) AS old
JOIN call_keys k USING (tenant, source, call_id)
HAVING count(*) > 0;

-- name: lag
-- Groups that wait to be projected, and how long the oldest one has waited.
SELECT count(*) AS groups, coalesce(extract(epoch FROM clock_timestamp() - min(journalled_at)), 0)::float AS seconds
FROM pending;

-- name: clear_projection
-- Forget everything that the journal folds into. Counters stay: they never go down.
TRUNCATE pending, set_aside, call_keys, calls, waits, rollups, day_rollups, month_rollups, day_spans, missed_calls, agent_states, agent_rollups,
    member_questions, work_items, agent_pending, agent_legs, agent_times, agent_horizon, same_call_sides;

-- name: requeue_journal
-- Put every call of one month of the journal up for projection.
INSERT INTO pending (tenants, sources, call_ids, first_at, last_at)
SELECT array_agg(tenant), array_agg(source), array_agg(call_id), array_agg(first_at), array_agg(last_at)
FROM (
    SELECT tenant, source, call_id, min(at) AS first_at, max(at) AS last_at,
           (row_number() OVER (ORDER BY min(at), tenant, source, call_id) - 1) / 200 AS page
    FROM journal WHERE at >= $1::timestamptz AND at < $2::timestamptz GROUP BY tenant, source, call_id
) AS touched
GROUP BY page ORDER BY page;

-- name: journal_span
-- The first and the last time in the journal.
SELECT min(at) AS first_at, max(at) AS last_at, count(*) AS events FROM journal;
