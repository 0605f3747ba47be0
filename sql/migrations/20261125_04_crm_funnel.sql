-- what was written into a CRM's pipeline, so that nothing is written twice
-- depends: 20261125_03_same_call

-- migrate: apply

-- The pipeline of each portal that gets one.
CREATE TABLE crm_funnels (
    source          text PRIMARY KEY,
    pipeline        bigint,
    is_made         boolean     NOT NULL DEFAULT false,  -- by us; else it was found by its name
    asked_at        timestamptz,                         -- a request to make it is under way, or its answer was lost
    stages          text        NOT NULL DEFAULT '',     -- codes that were set up, in their order
    backlog         bigint      NOT NULL DEFAULT 0,
    since           timestamptz NOT NULL DEFAULT now(),
    last_success_at timestamptz,
    problem         text        NOT NULL DEFAULT ''
);

-- One row per item: what we wrote last of it. Not part of the projection: a rebuild leaves it as it is.
CREATE TABLE crm_items (
    source      text        NOT NULL,
    origin_id   text        NOT NULL,
    call_source text        NOT NULL,  -- the call that the item began with
    call_id     text        NOT NULL,
    item_id     bigint,                -- NULL until the portal has told it
    stage       text        NOT NULL DEFAULT '',
    detail      text        NOT NULL DEFAULT '',
    asked_at    timestamptz,           -- a request to add it is under way, or its answer was lost
    closed      text        NOT NULL DEFAULT '',  -- why it is not touched again
    refusals    integer     NOT NULL DEFAULT 0,
    refused_at  timestamptz,
    written_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, origin_id)
);

CREATE UNIQUE INDEX crm_items_by_call ON crm_items (source, call_source, call_id);
CREATE INDEX crm_items_open ON crm_items (source) WHERE closed = '';
CREATE INDEX crm_items_by_item ON crm_items (source, item_id);
CREATE INDEX crm_items_by_age ON crm_items (written_at) WHERE closed <> '';

-- migrate: rollback

DROP TABLE crm_items;
DROP TABLE crm_funnels;
