-- name: open_calls
-- Calls of a source that have no end, for asking FreeSWITCH about them. Served by calls_open.
SELECT call_id FROM calls WHERE outcome = 'open' AND tenant = $1 AND source = $2 AND started_at < $3;

-- name: agent_states
-- The last state of each agent in each queue of a source; "" for an agent without queues.
SELECT queue, agent, state FROM agent_states WHERE tenant = $1 AND source = $2;

-- name: now
-- The clock by which the journal's groups are marked.
SELECT clock_timestamp();

-- name: is_behind
-- Whether something of a source that was journalled before a moment is not projected yet.
SELECT EXISTS (SELECT 1 FROM pending WHERE $1 = ANY (sources) AND journalled_at <= $2);
