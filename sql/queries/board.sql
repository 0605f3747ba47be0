-- name: open_calls
-- A tenant's calls that go on now. Served by calls_open.
SELECT tenant, body FROM calls WHERE outcome = 'open' AND tenant = $1;

-- name: agent_states
-- The state of a tenant's agents in every queue. Served by the primary key.
SELECT tenant, source, agent, queue, state FROM agent_states WHERE tenant = $1;

-- name: queue_names
-- A tenant's queues in the order in which they were first seen.
SELECT tenant, kind, name FROM names WHERE tenant = $1 AND kind = 'queue' ORDER BY number;

-- name: sources_now
-- When each of these sources last spoke, how its connection is, and when its portal was last read. Served by the
-- primary keys.
SELECT s.source, t.last_received_at, c.connected, c.changed_at, c.seen_at, c.heard_at, c.reason,
    r.since AS asked_since, r.last_success_at
FROM unnest($1::text[]) AS s (source)
LEFT JOIN source_status t USING (source)
LEFT JOIN connections c USING (source)
LEFT JOIN reconcile_sources r USING (source);

-- name: handled_later
-- Calls that began in a window and were handled, but not yet at its end. Served by calls_by_time.
SELECT count(*) FROM calls
WHERE tenant = $1 AND started_at >= $2::timestamptz AND started_at < $3::timestamptz AND ended_at >= $3::timestamptz
    AND outcome = 'answered' AND direction IN ('inbound', 'outbound');
