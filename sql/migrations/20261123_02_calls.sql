-- what the journal folds into: calls, rollups, counters, missed customers, agents
-- depends: 20261123_01_journal

-- migrate: apply

-- Where a call is: the partition of its row, the span of its events, and the call that it is part of.
-- The row is the lock of its call.
CREATE TABLE call_keys (
    tenant     text        NOT NULL,
    source     text        NOT NULL,
    call_id    text        NOT NULL,
    root       text        NOT NULL,
    first_at   timestamptz NOT NULL,
    last_at    timestamptz NOT NULL,
    started_at timestamptz,
    PRIMARY KEY (tenant, source, call_id)
) WITH (fillfactor = 80);

CREATE INDEX call_keys_joined ON call_keys (tenant, source, root) WHERE root <> call_id;

CREATE TABLE calls (
    tenant        text        NOT NULL,
    source        text        NOT NULL,
    call_id       text        NOT NULL,
    started_at    timestamptz NOT NULL,
    last_event_at timestamptz NOT NULL,
    answered_at   timestamptz,
    ended_at      timestamptz,
    direction     text        NOT NULL,
    customer      text        NOT NULL,
    line          text        NOT NULL,
    outcome       text        NOT NULL,
    body          json        NOT NULL,
    facts         json       NOT NULL,
    PRIMARY KEY (tenant, source, call_id, started_at)
) PARTITION BY RANGE (started_at);

CREATE INDEX calls_by_time ON calls (tenant, started_at);
CREATE INDEX calls_by_customer ON calls (tenant, customer, started_at) WHERE customer <> '';
CREATE INDEX calls_open ON calls (last_event_at) WHERE outcome = 'open';

-- Exact sums per quarter of an hour (UTC): grain 'call' counts calls, 'entry' stays in queues, 'handle' agents'
-- conversations. Every row is the sum over the facts of the calls.
CREATE TABLE rollups (
    tenant            text        NOT NULL,
    grain             text        NOT NULL,
    at                timestamptz NOT NULL,
    queue             text        NOT NULL,
    agent             text        NOT NULL,
    line              text        NOT NULL,
    direction         text        NOT NULL,
    outcome           text        NOT NULL,
    contacts          bigint NOT NULL DEFAULT 0,
    offered           bigint NOT NULL DEFAULT 0,
    queued            bigint NOT NULL DEFAULT 0,
    rung              bigint NOT NULL DEFAULT 0,
    answered          bigint NOT NULL DEFAULT 0,
    talked            bigint NOT NULL DEFAULT 0,
    handled           bigint NOT NULL DEFAULT 0,
    missed            bigint NOT NULL DEFAULT 0,
    made              bigint NOT NULL DEFAULT 0,
    reached           bigint NOT NULL DEFAULT 0,
    not_reached       bigint NOT NULL DEFAULT 0,
    within_sl         bigint NOT NULL DEFAULT 0,
    abandoned_within  bigint NOT NULL DEFAULT 0,
    ring_no_answer    bigint NOT NULL DEFAULT 0,
    transferred       bigint NOT NULL DEFAULT 0,
    waits             bigint NOT NULL DEFAULT 0,
    wait_ms           bigint NOT NULL DEFAULT 0,
    waits_answered    bigint NOT NULL DEFAULT 0,
    wait_answered_ms  bigint NOT NULL DEFAULT 0,
    talks             bigint NOT NULL DEFAULT 0,
    talk_ms           bigint NOT NULL DEFAULT 0,
    holds             bigint NOT NULL DEFAULT 0,
    hold_ms           bigint NOT NULL DEFAULT 0,
    wraps             bigint NOT NULL DEFAULT 0,
    wrap_ms           bigint NOT NULL DEFAULT 0,
    longest_wait_ms   bigint NOT NULL DEFAULT 0,
    wait_buckets      bigint[] NOT NULL DEFAULT '{}',
    talk_buckets      bigint[] NOT NULL DEFAULT '{}',
    hold_buckets      bigint[] NOT NULL DEFAULT '{}',
    wrap_buckets      bigint[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant, grain, at, queue, agent, line, direction, outcome)
) WITH (fillfactor = 70);

-- Totals for Prometheus since the beginning. They only grow: a correction adds to the new outcome and to
-- metric 'reclassified', it takes nothing away.
CREATE TABLE counters (
    tenant    text   NOT NULL,
    metric    text   NOT NULL,
    queue     text   NOT NULL,
    agent     text   NOT NULL,
    line      text   NOT NULL,
    direction text   NOT NULL,
    outcome   text   NOT NULL,
    value     bigint NOT NULL DEFAULT 0,
    buckets   bigint[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant, metric, queue, agent, line, direction, outcome)
) WITH (fillfactor = 70);

-- Names in the order in which they were first seen: the first ones get series of their own.
CREATE TABLE names (
    tenant text   NOT NULL,
    kind   text   NOT NULL,
    name   text   NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (tenant, kind, name)
);

-- One row per missed call (or request to be called), with what became of its customer.
CREATE TABLE missed_calls (
    tenant         text        NOT NULL,
    source         text        NOT NULL,
    call_id        text        NOT NULL,
    started_at     timestamptz NOT NULL,
    customer       text        NOT NULL,
    line           text        NOT NULL,
    queue          text        NOT NULL,
    outcome        text        NOT NULL,
    fate           text        NOT NULL,
    called_back_at timestamptz,
    reached_at     timestamptz,
    PRIMARY KEY (tenant, source, call_id)
);

CREATE INDEX missed_by_time ON missed_calls (tenant, started_at);
CREATE INDEX missed_by_customer ON missed_calls (tenant, customer, started_at);
CREATE INDEX missed_open ON missed_calls (tenant, started_at) WHERE fate IN ('waiting', 'called_back');

-- The last state of each agent in each queue.
CREATE TABLE agent_states (
    tenant   text        NOT NULL,
    source   text        NOT NULL,
    agent    text        NOT NULL,
    queue    text        NOT NULL,
    at       timestamptz NOT NULL,
    event_id text        NOT NULL,
    state    text        NOT NULL,
    reason   text        NOT NULL,
    PRIMARY KEY (tenant, source, agent, queue)
);

-- Pauses and log-ins per quarter of an hour, recomputed from the journal for each quarter that is touched.
CREATE TABLE agent_rollups (
    tenant  text        NOT NULL,
    source  text        NOT NULL,
    agent   text        NOT NULL,
    at      timestamptz NOT NULL,
    pauses  bigint      NOT NULL,
    resumes bigint      NOT NULL,
    logins  bigint      NOT NULL,
    logouts bigint      NOT NULL,
    PRIMARY KEY (tenant, at, source, agent)
);

-- The daemon's own counters, added to by every process, so that each gives the same answer.
CREATE TABLE health_counters (
    metric  text   NOT NULL,
    source  text   NOT NULL,
    label   text   NOT NULL,
    value   double precision NOT NULL DEFAULT 0,
    buckets bigint[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (metric, source, label)
) WITH (fillfactor = 50);

CREATE TABLE source_status (
    source           text PRIMARY KEY,
    last_event_at    timestamptz,
    last_received_at timestamptz
) WITH (fillfactor = 50);

-- Element by element, the shorter one padded with zeros.
CREATE FUNCTION add_arrays(a bigint[], b bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN cardinality(b) = 0 THEN a
        WHEN cardinality(a) = 0 THEN b
        ELSE (
            SELECT array_agg(coalesce(x, 0) + coalesce(y, 0) ORDER BY i)
            FROM unnest(a, b) WITH ORDINALITY AS pair (x, y, i)
        )
    END
$$;

-- migrate: rollback

DROP FUNCTION add_arrays(bigint[], bigint[]);
DROP TABLE source_status;
DROP TABLE health_counters;
DROP TABLE agent_rollups;
DROP TABLE agent_states;
DROP TABLE missed_calls;
DROP TABLE names;
DROP TABLE counters;
DROP TABLE rollups;
DROP TABLE calls;
DROP TABLE call_keys;
