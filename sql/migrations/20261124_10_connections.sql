-- live connections: how each one is, and how far what is followed was read
-- depends: 20261124_05_reconcile 20261124_03_views 20261124_03_member_questions 20261124_02_partition_race

-- migrate: apply

-- One row per source that callkpi keeps a connection to, written by whoever holds it.
CREATE TABLE connections (
    source     text PRIMARY KEY,
    connected  boolean     NOT NULL DEFAULT false,
    changed_at timestamptz NOT NULL DEFAULT now(),  -- since when it is so
    seen_at    timestamptz NOT NULL DEFAULT now(),  -- when its holder last wrote this row
    heard_at   timestamptz,                         -- when the other side was last known to be heard
    reason     text        NOT NULL DEFAULT '',     -- why it is not connected, a word of a short list
    problem    text        NOT NULL DEFAULT ''      -- and a sentence
);

-- How far something that can be read again was read: what is before it is durable.
CREATE TABLE connection_positions (
    source     text        NOT NULL,
    name       text        NOT NULL,
    position   jsonb       NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, name)
);

-- migrate: rollback

DROP TABLE connection_positions;
DROP TABLE connections;
