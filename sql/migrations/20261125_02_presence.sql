-- how long every agent was in every state
-- depends: 20261124_05_reconcile

-- migrate: apply

-- Calls and agents that the projector has written and whose times are not computed yet. A row is never changed, so a
-- batch that commits while times are computed leaves a row for the next round.
CREATE TABLE agent_pending (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenants  text[]        NOT NULL,
    sources  text[]        NOT NULL,
    call_ids text[]        NOT NULL,
    first_at timestamptz[] NOT NULL,
    last_at  timestamptz[] NOT NULL
);

-- What each leg's phone did, by agent: [begin, end, state] in milliseconds since 1970; one that goes on ends in the far
-- future. Rows are written anew when their call changes.
CREATE TABLE agent_legs (
    tenant   text   NOT NULL,
    source   text   NOT NULL,
    call_id  text   NOT NULL,
    n        integer NOT NULL,
    agent    text   NOT NULL,
    queue    text   NOT NULL,
    begin_ms bigint NOT NULL,
    end_ms   bigint NOT NULL,
    spans    json   NOT NULL,
    PRIMARY KEY (tenant, source, call_id, n)
);

CREATE INDEX agent_legs_by_end ON agent_legs (tenant, source, agent, end_ms);
CREATE INDEX agent_legs_open ON agent_legs (end_ms) WHERE end_ms = 9000000000000000;

-- Time in state of one agent id of one source in one quarter of an hour (UTC): a function of the journal and of nothing
-- else. The present quarter and the next are written ahead, as if nothing more happened: who reads cuts them at now.
-- spans: [begin, end, base, phone, reason], milliseconds of the quarter, which don't overlap; two ids of one person are
-- laid over each other by them. held: what holds at its end, {queue: [at, state, reason, wrap]}.
CREATE TABLE agent_quarters (
    tenant             text        NOT NULL,
    source             text        NOT NULL,
    agent              text        NOT NULL,
    at                 timestamptz NOT NULL,
    available_ms       integer     NOT NULL,
    ringing_ms         integer     NOT NULL,
    talking_ms         integer     NOT NULL,
    hold_ms            integer     NOT NULL,
    wrap_up_ms         integer     NOT NULL,
    paused_ms          integer     NOT NULL,
    busy_ms            integer     NOT NULL,
    logged_in_ms       integer     NOT NULL,
    outside_ms         integer     NOT NULL,
    outside_ringing_ms integer     NOT NULL,
    paused             json        NOT NULL,
    spans              json        NOT NULL,
    held               json        NOT NULL,
    PRIMARY KEY (tenant, at, source, agent)
) WITH (fillfactor = 80);

CREATE INDEX agent_quarters_by_agent ON agent_quarters (tenant, source, agent, at);

-- Up to when quarters are written. One row.
CREATE TABLE agent_horizon (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    until timestamptz NOT NULL
);

-- What is there already is computed by the daemon that comes next.
INSERT INTO agent_pending (tenants, sources, call_ids, first_at, last_at)
SELECT array_agg(tenant), array_agg(source), array_agg(call_id), array_agg(first_at), array_agg(last_at)
FROM (
    SELECT tenant, source, call_id, first_at, last_at, (row_number() OVER (ORDER BY first_at) - 1) / 200 AS page
    FROM call_keys
) AS known
GROUP BY page ORDER BY page;

INSERT INTO agent_pending (tenants, sources, call_ids, first_at, last_at)
SELECT ARRAY[tenant], ARRAY[source], ARRAY[call_id], ARRAY[min(at)], ARRAY[max(at)]
FROM journal WHERE kind = 'agent_state' GROUP BY tenant, source, call_id;

-- migrate: rollback

DROP TABLE agent_horizon;
DROP TABLE agent_quarters;
DROP TABLE agent_legs;
DROP TABLE agent_pending;
