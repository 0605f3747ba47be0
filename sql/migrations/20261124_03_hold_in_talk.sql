-- hold time that a source counts as talk, so that no handle time holds it twice
-- depends: 20261123_02_calls

-- migrate: apply

ALTER TABLE rollups ADD COLUMN hold_in_talk_ms bigint NOT NULL DEFAULT 0;

-- migrate: rollback

ALTER TABLE rollups DROP COLUMN hold_in_talk_ms;
