-- when the latest state of an agent was received: one of a clock that was ahead gives way to the next one
-- depends: 20261130_40_plausible

-- migrate: apply

ALTER TABLE agent_states ADD COLUMN received_at timestamptz;

-- migrate: rollback

ALTER TABLE agent_states DROP COLUMN received_at;
