-- how long every agent was in every state
-- depends: 20261124_10_connections

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
    agent_source text NOT NULL,  -- whose id the agent is; the call's own source but where another one named him
    agent    text   NOT NULL,
    queue    text   NOT NULL,
    begin_ms bigint NOT NULL,
    end_ms   bigint NOT NULL,
    spans    json   NOT NULL,
    PRIMARY KEY (tenant, source, call_id, n)
);

CREATE INDEX agent_legs_by_end ON agent_legs (tenant, agent_source, agent, end_ms);
CREATE INDEX agent_legs_by_time ON agent_legs (end_ms);

-- Time in state of one agent id of one source in one quarter of an hour (UTC): a function of the journal and of nothing
-- else. The present quarter and the next are written ahead, as if nothing more happened: who reads cuts them at now.
-- spans: [begin, end, base, phone, reason], milliseconds of the quarter, which don't overlap; two ids of one person are
-- laid over each other by them. held: what holds at its end, {queue: [at, state, reason, wrap]}.
CREATE TABLE agent_times (
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

CREATE INDEX agent_times_by_agent ON agent_times (tenant, source, agent, at);

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

-- What people with SQL may read ---------------------------------------------------------------------------

ALTER TABLE view_tenants ADD COLUMN ringing_counts text NOT NULL DEFAULT 'available';

-- The source's own id of an agent, who is stored as source:id.
CREATE FUNCTION callkpi_views.agent_id(key text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN strpos(key, ':') > 0 THEN regexp_replace(key, '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}:', '') ELSE key END
$$;

CREATE FUNCTION callkpi_views.occupancy(work_ms bigint, available_ms bigint) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT callkpi_views.ratio(work_ms, work_ms + available_ms)
$$;

CREATE FUNCTION callkpi_views.utilisation(work_ms bigint, logged_in_ms bigint) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT callkpi_views.ratio(work_ms, logged_in_ms)
$$;

-- Who an agent is: what the configuration or his portal calls him, else his own id.
CREATE OR REPLACE VIEW callkpi_views.quarters AS
SELECT r.tenant, r.grain, r.at,
    coalesce(q.shown, r.queue) AS queue,
    coalesce(a.shown, b.shown, callkpi_views.agent_id(r.agent)) AS agent, coalesce(l.shown, r.line) AS line,
    r.direction, r.outcome,
    r.contacts, r.offered, r.queued, r.rung, r.answered, r.talked, r.handled, r.missed, r.made, r.reached,
    r.not_reached, r.within_sl, r.abandoned_within, r.ring_no_answer, r.transferred, r.waits, r.wait_ms,
    r.waits_answered, r.wait_answered_ms, r.talks, r.talk_ms, r.holds, r.hold_ms, r.hold_in_talk_ms,
    r.wraps, r.wrap_ms,
    r.longest_wait_ms
FROM rollups r
LEFT JOIN view_names q ON (q.tenant, q.kind, q.name) = (r.tenant, 'queue', r.queue)
LEFT JOIN view_names a ON (a.tenant, a.kind, a.name) = (r.tenant, 'agent', r.agent)
LEFT JOIN view_names b ON (b.tenant, b.kind, b.name) = (r.tenant, 'agent', callkpi_views.agent_id(r.agent))
LEFT JOIN view_names l ON (l.tenant, l.kind, l.name) = (r.tenant, 'line', r.line);

CREATE OR REPLACE VIEW callkpi_views.facts AS
SELECT c.tenant, f.grain, f.at,
    coalesce(q.shown, f.queue) AS queue,
    coalesce(a.shown, b.shown, callkpi_views.agent_id(f.agent)) AS agent, coalesce(l.shown, f.line) AS line,
    f.direction, f.outcome,
    m.contacts, m.offered, m.queued, m.rung, m.answered, m.talked, m.handled, m.missed, m.made, m.reached,
    m.not_reached, m.within_sl, m.abandoned_within, m.ring_no_answer, m.transferred, m.waits, m.wait_ms,
    m.waits_answered, m.wait_answered_ms, m.talks, m.talk_ms, m.holds, m.hold_ms, m.hold_in_talk_ms,
    m.wraps, m.wrap_ms,
    CASE WHEN f.outcome = 'open' THEN 0 ELSE m.wait_ms END AS longest_wait_ms,
    c.started_at, c.last_event_at
FROM calls c
CROSS JOIN LATERAL json_to_recordset(c.facts) AS f (
    grain text, at timestamptz, queue text, agent text, line text, direction text, outcome text, m json
)
CROSS JOIN LATERAL json_to_record(f.m) AS m (
    contacts bigint, offered bigint, queued bigint, rung bigint, answered bigint, talked bigint, handled bigint,
    missed bigint, made bigint, reached bigint, not_reached bigint, within_sl bigint, abandoned_within bigint,
    ring_no_answer bigint, transferred bigint, waits bigint, wait_ms bigint, waits_answered bigint,
    wait_answered_ms bigint, talks bigint, talk_ms bigint, holds bigint, hold_ms bigint,
    hold_in_talk_ms bigint, wraps bigint, wrap_ms bigint
)
LEFT JOIN view_names q ON (q.tenant, q.kind, q.name) = (c.tenant, 'queue', f.queue)
LEFT JOIN view_names a ON (a.tenant, a.kind, a.name) = (c.tenant, 'agent', f.agent)
LEFT JOIN view_names b ON (b.tenant, b.kind, b.name) = (c.tenant, 'agent', callkpi_views.agent_id(f.agent))
LEFT JOIN view_names l ON (l.tenant, l.kind, l.name) = (c.tenant, 'line', f.line);

CREATE OR REPLACE VIEW callkpi_views.agent_quarters AS
SELECT r.tenant, coalesce(a.shown, b.shown, r.agent) AS agent, r.at, r.pauses, r.resumes, r.logins, r.logouts
FROM agent_rollups r
LEFT JOIN view_names a ON (a.tenant, a.kind, a.name) = (r.tenant, 'agent', r.source || ':' || r.agent)
LEFT JOIN view_names b ON (b.tenant, b.kind, b.name) = (r.tenant, 'agent', r.agent);

CREATE OR REPLACE VIEW callkpi_views.agents_now AS
SELECT s.tenant, coalesce(a.shown, i.shown, s.agent) AS agent, coalesce(q.shown, s.queue) AS queue,
    CASE WHEN s.state = 'available' THEN coalesce(b.state, s.state) ELSE s.state END AS state, s.reason,
    CASE WHEN s.state = 'available' THEN coalesce(b.since, s.at) ELSE s.at END AS since
FROM agent_states s
LEFT JOIN (
    SELECT c.tenant, c.source, l.value ->> 'agent' AS agent,
        CASE WHEN bool_or(l.value ->> 'answered_at' IS NOT NULL) THEN 'talking' ELSE 'ringing' END AS state,
        max(coalesce(l.value ->> 'answered_at', l.value ->> 'rung_at')::timestamptz) AS since
    FROM calls c CROSS JOIN LATERAL json_array_elements(c.body -> 'legs') AS l (value)
    WHERE c.outcome = 'open' AND l.value ->> 'ended_at' IS NULL AND l.value ->> 'agent' <> ''
    GROUP BY 1, 2, 3
) AS b ON (b.tenant, b.source, b.agent) = (s.tenant, s.source, s.agent)
LEFT JOIN view_names a ON (a.tenant, a.kind, a.name) = (s.tenant, 'agent', s.source || ':' || s.agent)
LEFT JOIN view_names i ON (i.tenant, i.kind, i.name) = (s.tenant, 'agent', s.agent)
LEFT JOIN view_names q ON (q.tenant, q.kind, q.name) = (s.tenant, 'queue', s.queue);

CREATE OR REPLACE VIEW callkpi_views.people_now AS
SELECT DISTINCT ON (tenant, agent) tenant, agent, state, reason, since
FROM callkpi_views.agents_now
ORDER BY tenant, agent, array_position(
    ARRAY['talking', 'hold', 'ringing', 'wrap_up', 'available', 'busy', 'paused', 'offline'], state), since DESC;

CREATE VIEW callkpi_views.agent_rules AS SELECT tenant, timezone, ringing_counts FROM view_tenants;

-- What every agent id did in each quarter of an hour, and who he is. The present quarter and the next are written as if
-- nothing more happened: cut them at now.
CREATE VIEW callkpi_views.agent_spans AS
SELECT q.tenant, q.source, q.agent, q.at, coalesce(a.shown, b.shown, q.agent) AS person,
    coalesce(t.shown, u.shown, '') AS in_team, q.available_ms, q.ringing_ms, q.talking_ms, q.hold_ms, q.wrap_up_ms,
    q.paused_ms, q.busy_ms, q.logged_in_ms, q.outside_ms, q.outside_ringing_ms, q.paused, q.spans
FROM agent_times q
LEFT JOIN view_names a ON (a.tenant, a.kind, a.name) = (q.tenant, 'agent', q.source || ':' || q.agent)
LEFT JOIN view_names b ON (b.tenant, b.kind, b.name) = (q.tenant, 'agent', q.agent)
LEFT JOIN view_names t ON (t.tenant, t.kind, t.name) = (q.tenant, 'team', q.source || ':' || q.agent)
LEFT JOIN view_names u ON (u.tenant, u.kind, u.name) = (q.tenant, 'team', q.agent);

-- Milliseconds of every person in a window [since, until), up to now: a row per quarter and measure, of pauses per reason
-- as well. Whole quarters of who has one id are sums; edges, and several ids of one person, are laid out by their spans.
CREATE FUNCTION callkpi_views.agent_pieces(of_tenant text, since timestamptz, until timestamptz)
RETURNS TABLE (agent text, team text, at timestamptz, measure text, reason text, ms bigint) LANGUAGE sql STABLE AS $$
WITH ids AS (
    SELECT q.*,
        greatest(floor(extract(epoch FROM since - q.at) * 1000), 0)::integer AS cut_begin,
        least(floor(extract(epoch FROM least(until, now()) - q.at) * 1000), 900000)::integer AS cut_end
    FROM callkpi_views.agent_spans q
    WHERE q.tenant = of_tenant AND q.at >= callkpi_views.quarter(since) AND q.at < least(until, now())
), counted AS (
    SELECT ids.*, max(in_team) OVER (PARTITION BY person) AS whose_team,
        count(*) OVER (PARTITION BY person, ids.at) = 1 AND cut_begin = 0 AND cut_end = 900000 AS is_plain
    FROM ids
), spans AS (
    SELECT c.person, c.whose_team, c.at, s.begin_ms, s.end_ms, s.reason,
        array_position(ARRAY['available', 'busy', 'paused'], s.base) AS base,
        array_position(ARRAY['talking', 'hold', 'ringing', 'wrap_up'], s.phone) AS phone
    FROM counted c
    CROSS JOIN LATERAL json_array_elements(c.spans) AS x (value)
    CROSS JOIN LATERAL (
        SELECT greatest((x.value ->> 0)::integer, c.cut_begin) AS begin_ms,
            least((x.value ->> 1)::integer, c.cut_end) AS end_ms,
            x.value ->> 2 AS base, x.value ->> 3 AS phone, x.value ->> 4 AS reason
    ) AS s
    WHERE NOT c.is_plain AND s.begin_ms < s.end_ms
), cuts AS (
    SELECT person, at, begin_ms AS cut FROM spans UNION SELECT person, at, end_ms FROM spans
), pieces AS (
    SELECT person, at, cut AS begin_ms, lead(cut) OVER (PARTITION BY person, at ORDER BY cut) AS end_ms FROM cuts
), laid AS (
    SELECT p.person, s.whose_team, p.at, p.end_ms - p.begin_ms AS ms, min(s.base) AS base, min(s.phone) AS phone,
        min(s.reason) FILTER (WHERE s.base = 3) AS reason
    FROM pieces p
    JOIN spans s ON s.person = p.person AND s.at = p.at AND s.begin_ms <= p.begin_ms AND s.end_ms > p.begin_ms
    GROUP BY p.person, s.whose_team, p.at, p.begin_ms, p.end_ms
), told AS (
    SELECT laid.*, CASE
        WHEN phone <= 2 OR phone IS NOT NULL AND coalesce(base, 1) = 1
            THEN (ARRAY['talking', 'hold', 'ringing', 'wrap_up'])[phone]
        ELSE (ARRAY['available', 'busy', 'paused'])[base] END AS state
    FROM laid
)
SELECT c.person, c.whose_team, c.at, m.measure, '', m.ms::bigint FROM counted c
CROSS JOIN LATERAL (VALUES
    ('available', c.available_ms), ('ringing', c.ringing_ms), ('talking', c.talking_ms), ('hold', c.hold_ms),
    ('wrap_up', c.wrap_up_ms), ('busy', c.busy_ms), ('logged_in', c.logged_in_ms), ('outside', c.outside_ms),
    ('outside_ringing', c.outside_ringing_ms)
) AS m (measure, ms)
WHERE c.is_plain AND m.ms > 0
UNION ALL
SELECT c.person, c.whose_team, c.at, 'paused', p.key, p.value::bigint FROM counted c
CROSS JOIN LATERAL json_each_text(c.paused) AS p
WHERE c.is_plain
UNION ALL
SELECT person, whose_team, at, m.measure, CASE m.measure WHEN 'paused' THEN reason ELSE '' END, ms FROM told
CROSS JOIN LATERAL (VALUES
    (state), (CASE WHEN base IS NOT NULL THEN 'logged_in' WHEN state = 'ringing' THEN 'outside_ringing' ELSE 'outside' END)
) AS m (measure)
$$;

-- Time in state of a window, exact, up to now. by: agent, team, total. step: whole, or a row per quarter, hour, day, week,
-- month of the call centre's own clock. Occupancy and utilisation look at the time in which people are logged in.
CREATE FUNCTION callkpi_views.agent_times(
    of_tenant text, since timestamptz, until timestamptz, by text DEFAULT 'agent', step text DEFAULT 'whole'
) RETURNS TABLE (
    at timestamptz, name text, logged_in_seconds double precision, available_seconds double precision,
    ringing_seconds double precision, talking_seconds double precision, on_hold_seconds double precision,
    wrap_up_seconds double precision, paused_seconds double precision, busy_seconds double precision,
    outside_seconds double precision, occupancy double precision, utilisation double precision
) LANGUAGE sql STABLE AS $$
WITH sums AS (
    SELECT CASE step WHEN 'whole' THEN since WHEN 'quarter' THEN p.at ELSE date_trunc(step, p.at, t.timezone) END AS bucket,
        CASE by WHEN 'agent' THEN p.agent WHEN 'team' THEN p.team ELSE '' END AS name, t.ringing_counts AS ringing_is,
        coalesce(sum(p.ms) FILTER (WHERE p.measure = 'logged_in'), 0)::bigint AS logged_in,
        coalesce(sum(p.ms) FILTER (WHERE p.measure = 'available'), 0)::bigint AS available,
        coalesce(sum(p.ms) FILTER (WHERE p.measure = 'ringing'), 0)::bigint AS ringing,
        coalesce(sum(p.ms) FILTER (WHERE p.measure = 'talking'), 0)::bigint AS talking,
        coalesce(sum(p.ms) FILTER (WHERE p.measure = 'hold'), 0)::bigint AS hold,
        coalesce(sum(p.ms) FILTER (WHERE p.measure = 'wrap_up'), 0)::bigint AS wrap_up,
        coalesce(sum(p.ms) FILTER (WHERE p.measure = 'paused'), 0)::bigint AS paused,
        coalesce(sum(p.ms) FILTER (WHERE p.measure = 'busy'), 0)::bigint AS busy,
        coalesce(sum(p.ms) FILTER (WHERE p.measure = 'outside'), 0)::bigint AS outside,
        coalesce(sum(p.ms) FILTER (WHERE p.measure = 'outside_ringing'), 0)::bigint AS outside_ringing
    FROM callkpi_views.agent_rules t CROSS JOIN LATERAL callkpi_views.agent_pieces(t.tenant, since, until) AS p
    WHERE t.tenant = of_tenant
    GROUP BY 1, 2, 3
), work AS (
    SELECT s.*, s.ringing - s.outside_ringing AS rung,
        s.talking + s.hold + s.wrap_up - s.outside
            + CASE s.ringing_is WHEN 'work' THEN s.ringing - s.outside_ringing ELSE 0 END AS work
    FROM sums s
)
SELECT w.bucket, w.name, w.logged_in::double precision / 1000, w.available::double precision / 1000,
    w.ringing::double precision / 1000, w.talking::double precision / 1000, nullif(w.hold, 0)::double precision / 1000,
    nullif(w.wrap_up, 0)::double precision / 1000, w.paused::double precision / 1000,
    w.busy::double precision / 1000, w.outside::double precision / 1000,
    callkpi_views.occupancy(w.work, w.available + CASE w.ringing_is WHEN 'available' THEN w.rung ELSE 0 END),
    callkpi_views.utilisation(w.work, w.logged_in)
FROM work w ORDER BY 1, 2
$$;

-- Pauses of a window by reason. by: agent, team, total.
CREATE FUNCTION callkpi_views.pauses(
    of_tenant text, since timestamptz, until timestamptz, by text DEFAULT 'agent'
) RETURNS TABLE (name text, reason text, paused_seconds double precision) LANGUAGE sql STABLE AS $$
    SELECT CASE by WHEN 'agent' THEN p.agent WHEN 'team' THEN p.team ELSE '' END, p.reason,
        sum(p.ms)::double precision / 1000
    FROM callkpi_views.agent_pieces(of_tenant, since, until) AS p WHERE p.measure = 'paused'
    GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2
$$;

-- Agents of a window: their handles, what they did with their time, and their pauses, which with log-ins count from the
-- begin of its first quarter of an hour.
DROP FUNCTION callkpi_views.agents(text, timestamptz, timestamptz);
CREATE FUNCTION callkpi_views.agents(of_tenant text, since timestamptz, until timestamptz)
RETURNS TABLE (
    agent text, handled bigint, answered bigint, made bigint, reached bigint, ring_no_answer bigint,
    transferred bigint, talk_seconds double precision, hold_seconds double precision, wrap_seconds double precision,
    aht_seconds double precision, pauses bigint, resumes bigint, logins bigint, logouts bigint,
    logged_in_seconds double precision, available_seconds double precision, ringing_seconds double precision,
    talking_seconds double precision, on_hold_seconds double precision, wrap_up_seconds double precision,
    paused_seconds double precision, busy_seconds double precision, outside_seconds double precision,
    occupancy double precision, utilisation double precision
) LANGUAGE sql STABLE AS $$
    SELECT coalesce(k.name, p.agent, t.name), coalesce(k.handled, 0), coalesce(k.answered, 0), coalesce(k.made, 0),
        coalesce(k.reached, 0), coalesce(k.ring_no_answer, 0), coalesce(k.transferred, 0),
        coalesce(k.talk_seconds, 0), k.hold_seconds, k.wrap_seconds, k.aht_seconds,
        coalesce(p.pauses, 0), coalesce(p.resumes, 0), coalesce(p.logins, 0), coalesce(p.logouts, 0),
        coalesce(t.logged_in_seconds, 0), coalesce(t.available_seconds, 0), coalesce(t.ringing_seconds, 0),
        coalesce(t.talking_seconds, 0), t.on_hold_seconds, t.wrap_up_seconds, coalesce(t.paused_seconds, 0),
        coalesce(t.busy_seconds, 0), coalesce(t.outside_seconds, 0), t.occupancy, t.utilisation
    FROM callkpi_views.kpi(of_tenant, since, until, 'agent') AS k
    FULL JOIN (
        SELECT q.agent, sum(q.pauses)::bigint AS pauses, sum(q.resumes)::bigint AS resumes,
            sum(q.logins)::bigint AS logins, sum(q.logouts)::bigint AS logouts
        FROM callkpi_views.agent_quarters q
        WHERE q.tenant = of_tenant AND q.at >= callkpi_views.quarter(since) AND q.at < until
        GROUP BY q.agent
    ) AS p ON p.agent = k.name
    FULL JOIN callkpi_views.agent_times(of_tenant, since, until) AS t ON t.name = coalesce(k.name, p.agent)
    ORDER BY 1
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA callkpi_views FROM PUBLIC;

SELECT prepare_reader();

-- migrate: rollback

DROP FUNCTION callkpi_views.agents(text, timestamptz, timestamptz);
DROP FUNCTION callkpi_views.pauses(text, timestamptz, timestamptz, text);
DROP FUNCTION callkpi_views.agent_times(text, timestamptz, timestamptz, text, text);
DROP FUNCTION callkpi_views.agent_pieces(text, timestamptz, timestamptz);
DROP VIEW callkpi_views.agent_spans;
DROP VIEW callkpi_views.agent_rules;
CREATE OR REPLACE VIEW callkpi_views.quarters AS
SELECT r.tenant, r.grain, r.at,
    coalesce(q.shown, r.queue) AS queue, coalesce(a.shown, r.agent) AS agent, coalesce(l.shown, r.line) AS line,
    r.direction, r.outcome,
    r.contacts, r.offered, r.queued, r.rung, r.answered, r.talked, r.handled, r.missed, r.made, r.reached,
    r.not_reached, r.within_sl, r.abandoned_within, r.ring_no_answer, r.transferred, r.waits, r.wait_ms,
    r.waits_answered, r.wait_answered_ms, r.talks, r.talk_ms, r.holds, r.hold_ms, r.hold_in_talk_ms,
    r.wraps, r.wrap_ms,
    r.longest_wait_ms
FROM rollups r
LEFT JOIN view_names q ON (q.tenant, q.kind, q.name) = (r.tenant, 'queue', r.queue)
LEFT JOIN view_names a ON (a.tenant, a.kind, a.name) = (r.tenant, 'agent', r.agent)
LEFT JOIN view_names l ON (l.tenant, l.kind, l.name) = (r.tenant, 'line', r.line);

CREATE OR REPLACE VIEW callkpi_views.facts AS
SELECT c.tenant, f.grain, f.at,
    coalesce(q.shown, f.queue) AS queue, coalesce(a.shown, f.agent) AS agent, coalesce(l.shown, f.line) AS line,
    f.direction, f.outcome,
    m.contacts, m.offered, m.queued, m.rung, m.answered, m.talked, m.handled, m.missed, m.made, m.reached,
    m.not_reached, m.within_sl, m.abandoned_within, m.ring_no_answer, m.transferred, m.waits, m.wait_ms,
    m.waits_answered, m.wait_answered_ms, m.talks, m.talk_ms, m.holds, m.hold_ms, m.hold_in_talk_ms,
    m.wraps, m.wrap_ms,
    CASE WHEN f.outcome = 'open' THEN 0 ELSE m.wait_ms END AS longest_wait_ms,
    c.started_at, c.last_event_at
FROM calls c
CROSS JOIN LATERAL json_to_recordset(c.facts) AS f (
    grain text, at timestamptz, queue text, agent text, line text, direction text, outcome text, m json
)
CROSS JOIN LATERAL json_to_record(f.m) AS m (
    contacts bigint, offered bigint, queued bigint, rung bigint, answered bigint, talked bigint, handled bigint,
    missed bigint, made bigint, reached bigint, not_reached bigint, within_sl bigint, abandoned_within bigint,
    ring_no_answer bigint, transferred bigint, waits bigint, wait_ms bigint, waits_answered bigint,
    wait_answered_ms bigint, talks bigint, talk_ms bigint, holds bigint, hold_ms bigint,
    hold_in_talk_ms bigint, wraps bigint, wrap_ms bigint
)
LEFT JOIN view_names q ON (q.tenant, q.kind, q.name) = (c.tenant, 'queue', f.queue)
LEFT JOIN view_names a ON (a.tenant, a.kind, a.name) = (c.tenant, 'agent', f.agent)
LEFT JOIN view_names l ON (l.tenant, l.kind, l.name) = (c.tenant, 'line', f.line);

CREATE OR REPLACE VIEW callkpi_views.agent_quarters AS
SELECT r.tenant, coalesce(a.shown, r.agent) AS agent, r.at, r.pauses, r.resumes, r.logins, r.logouts
FROM agent_rollups r LEFT JOIN view_names a ON (a.tenant, a.kind, a.name) = (r.tenant, 'agent', r.agent);

CREATE OR REPLACE VIEW callkpi_views.agents_now AS
SELECT s.tenant, coalesce(a.shown, s.agent) AS agent, coalesce(q.shown, s.queue) AS queue,
    CASE WHEN s.state = 'available' THEN coalesce(b.state, s.state) ELSE s.state END AS state, s.reason,
    CASE WHEN s.state = 'available' THEN coalesce(b.since, s.at) ELSE s.at END AS since
FROM agent_states s
LEFT JOIN (
    SELECT c.tenant, l.value ->> 'agent' AS agent,
        CASE WHEN bool_or(l.value ->> 'answered_at' IS NOT NULL) THEN 'talking' ELSE 'ringing' END AS state,
        max(coalesce(l.value ->> 'answered_at', l.value ->> 'rung_at')::timestamptz) AS since
    FROM calls c CROSS JOIN LATERAL json_array_elements(c.body -> 'legs') AS l (value)
    WHERE c.outcome = 'open' AND l.value ->> 'ended_at' IS NULL AND l.value ->> 'agent' <> ''
    GROUP BY 1, 2
) AS b ON (b.tenant, b.agent) = (s.tenant, s.agent)
LEFT JOIN view_names a ON (a.tenant, a.kind, a.name) = (s.tenant, 'agent', s.agent)
LEFT JOIN view_names q ON (q.tenant, q.kind, q.name) = (s.tenant, 'queue', s.queue);

CREATE OR REPLACE VIEW callkpi_views.people_now AS
SELECT DISTINCT ON (tenant, agent) tenant, agent, state, reason, since
FROM callkpi_views.agents_now
ORDER BY tenant, agent,
    array_position(ARRAY['talking', 'ringing', 'busy', 'available', 'paused', 'offline'], state), since DESC;

-- Agents of a window. Pauses and log-ins count from the begin of its first quarter of an hour.
CREATE FUNCTION callkpi_views.agents(of_tenant text, since timestamptz, until timestamptz)
RETURNS TABLE (
    agent text, handled bigint, answered bigint, made bigint, reached bigint, ring_no_answer bigint,
    transferred bigint, talk_seconds double precision, hold_seconds double precision, wrap_seconds double precision,
    aht_seconds double precision, pauses bigint, resumes bigint, logins bigint, logouts bigint
) LANGUAGE sql STABLE AS $$
    SELECT coalesce(k.name, p.agent), coalesce(k.handled, 0), coalesce(k.answered, 0), coalesce(k.made, 0),
        coalesce(k.reached, 0), coalesce(k.ring_no_answer, 0), coalesce(k.transferred, 0),
        coalesce(k.talk_seconds, 0), k.hold_seconds, k.wrap_seconds, k.aht_seconds,
        coalesce(p.pauses, 0), coalesce(p.resumes, 0), coalesce(p.logins, 0), coalesce(p.logouts, 0)
    FROM callkpi_views.kpi(of_tenant, since, until, 'agent') AS k
    FULL JOIN (
        SELECT q.agent, sum(q.pauses)::bigint AS pauses, sum(q.resumes)::bigint AS resumes,
            sum(q.logins)::bigint AS logins, sum(q.logouts)::bigint AS logouts
        FROM callkpi_views.agent_quarters q
        WHERE q.tenant = of_tenant AND q.at >= callkpi_views.quarter(since) AND q.at < until
        GROUP BY q.agent
    ) AS p ON p.agent = k.name
    ORDER BY 1
$$;

DROP FUNCTION callkpi_views.utilisation(bigint, bigint);
DROP FUNCTION callkpi_views.occupancy(bigint, bigint);
DROP FUNCTION callkpi_views.agent_id(text);
ALTER TABLE view_tenants DROP COLUMN ringing_counts;
DROP TABLE agent_horizon;
DROP TABLE agent_times;
DROP TABLE agent_legs;
DROP TABLE agent_pending;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA callkpi_views FROM PUBLIC;

SELECT prepare_reader();
