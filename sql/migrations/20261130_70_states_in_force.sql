-- what an agent is told for every queue, beside what is told for one
-- depends: 20261126_03_reading

-- migrate: apply

-- A state without a queue (PAUSEALL, AGENTLOGOFF) is of all queues of which nothing newer is told. It counts no more
-- itself once every queue has told something newer. callkpi.presence says the same of the past.
CREATE VIEW states_in_force AS
SELECT s.* FROM agent_states s
LEFT JOIN agent_states g ON s.queue <> ''
    AND (g.tenant, g.source, g.agent, g.queue) = (s.tenant, s.source, s.agent, '')
WHERE CASE WHEN s.queue <> '' THEN g.at IS NULL OR g.at <= s.at
    ELSE NOT EXISTS (
            SELECT 1 FROM agent_states q WHERE (q.tenant, q.source, q.agent) = (s.tenant, s.source, s.agent)
                AND q.queue <> '' AND q.at > s.at)
        OR EXISTS (
            SELECT 1 FROM agent_states q WHERE (q.tenant, q.source, q.agent) = (s.tenant, s.source, s.agent)
                AND q.queue <> '' AND q.at < s.at AND q.state <> 'offline')
    END;

-- migrate: rollback

DROP VIEW states_in_force;
