-- name: open_calls
-- A tenant's calls that go on now. Served by calls_open.
SELECT tenant, body FROM calls WHERE outcome = 'open' AND tenant = $1;

-- name: agent_states
-- The state of a tenant's agents in every queue. Served by the primary key.
SELECT tenant, source, agent, queue, state FROM agent_states WHERE tenant = $1;

-- name: queue_names
-- A tenant's queues in the order in which they were first seen.
SELECT tenant, kind, name FROM names WHERE tenant = $1 AND kind = 'queue' ORDER BY number;

-- name: last_received
-- When any of these sources last spoke.
SELECT max(last_received_at) FROM source_status WHERE source = ANY ($1::text[]);

-- name: handled_later
-- Calls that began in a window and were handled, but not yet at its end. Served by calls_by_time.
SELECT count(*) FROM calls
WHERE tenant = $1 AND started_at >= $2::timestamptz AND started_at < $3::timestamptz AND ended_at >= $3::timestamptz
    AND outcome = 'answered' AND direction IN ('inbound', 'outbound');
