-- one call across sources: what each source tells of it, and which of them are one
-- depends: 20261125_02_presence

-- migrate: apply

-- A call of a tenant whose sources see the same calls, as its own source tells of it. Table calls holds what they are
-- together: one row, under the leading side's key. Written under the tenant's lock only.
CREATE TABLE same_call_sides (
    tenant       text        NOT NULL,
    source       text        NOT NULL,
    call_id      text        NOT NULL,
    started_at   timestamptz NOT NULL,
    number       text        NOT NULL,  -- that it is matched by; '' for a hidden one
    ids          text[]      NOT NULL,  -- by which others may know it
    refs         text[]      NOT NULL,  -- ids of others that it names
    body         json        NOT NULL,
    lead_source  text        NOT NULL,  -- of a side that leads: itself
    lead_call_id text        NOT NULL,
    rule         text        NOT NULL,  -- by which it is part of another; '' for one that leads
    ambiguous    boolean     NOT NULL,
    PRIMARY KEY (tenant, source, call_id)
) WITH (fillfactor = 70);

CREATE INDEX same_call_by_number ON same_call_sides (tenant, number, started_at) WHERE number <> '';
CREATE INDEX same_call_by_time ON same_call_sides (tenant, source, started_at);
CREATE INDEX same_call_by_lead ON same_call_sides (tenant, lead_source, lead_call_id) WHERE rule <> '';
CREATE INDEX same_call_by_id ON same_call_sides USING gin (ids) WITH (fastupdate = off);
CREATE INDEX same_call_by_ref ON same_call_sides USING gin (refs) WITH (fastupdate = off) WHERE refs <> '{}';

-- migrate: rollback

DROP TABLE same_call_sides;
