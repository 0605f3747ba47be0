-- name: agent_states
-- The last state of each agent in each queue of a source; "" for an agent without queues.
SELECT queue, agent, state FROM agent_states WHERE tenant = $1 AND source = $2;
