-- what is read from Bitrix24's REST: how far, what only that found, and the portal's names
-- depends: 20261124_01_journal_key

-- migrate: apply

-- Calls of the past are in every report, but not in the counters for Prometheus: there they would look as if they
-- happened now, and wake somebody.
ALTER TABLE pending ADD COLUMN counted boolean NOT NULL DEFAULT true;

-- One row per source that is reconciled.
CREATE TABLE reconcile_sources (
    source          text PRIMARY KEY,
    since           timestamptz NOT NULL DEFAULT now(),  -- calls that ended before were never awaited here
    calls_found     bigint      NOT NULL DEFAULT 0,      -- only grows
    calls_unseen    bigint      NOT NULL DEFAULT 0,      -- as of the last look at a whole window
    last_success_at timestamptz,
    named_at        timestamptz,
    renamed_from    text        NOT NULL DEFAULT '',
    renamed_to      text        NOT NULL DEFAULT ''
);

-- One row per kind of pass over a source's statistics ('new', 'window', 'night', 'backfill …'): a pass that was
-- killed goes on behind the last row id whose facts are durable.
CREATE TABLE reconcile_passes (
    source      text        NOT NULL,
    pass        text        NOT NULL,
    begin_at    timestamptz,
    end_at      timestamptz,
    cursor      bigint      NOT NULL DEFAULT 0,
    rows        bigint      NOT NULL DEFAULT 0,
    total       bigint,
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (source, pass)
);

-- Calls whose webhooks never came, so that each is counted once. Forgotten when no pass can meet them again.
CREATE TABLE reconcile_found (
    source   text        NOT NULL,
    call_id  text        NOT NULL,
    found_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, call_id)
);

CREATE INDEX reconcile_found_by_age ON reconcile_found (found_at);

-- What the portal calls its users ('agent'), lines ('line') and departments ('department').
CREATE TABLE portal_names (
    tenant   text        NOT NULL,
    source   text        NOT NULL,
    kind     text        NOT NULL,
    id       text        NOT NULL,
    name     text        NOT NULL,
    read_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, source, kind, id)
);

-- migrate: rollback

DROP TABLE portal_names;
DROP TABLE reconcile_found;
DROP TABLE reconcile_passes;
DROP TABLE reconcile_sources;
ALTER TABLE pending DROP COLUMN counted;
