-- what Grafana and people with SQL may read: the glossary's figures, without numbers of customers
-- depends: 20261124_03_hold_in_talk

-- migrate: apply

-- What the views need of the configuration; the daemon writes both tables anew at each start.
CREATE TABLE view_tenants (
    tenant                text PRIMARY KEY,
    timezone              text             NOT NULL,
    service_level_formula text             NOT NULL,
    write_off             interval         NOT NULL,
    working_day           interval         NOT NULL,
    numbers               text             NOT NULL,
    service_level_seconds double precision NOT NULL
);

CREATE TABLE view_names (
    tenant text NOT NULL,
    kind   text NOT NULL,
    name   text NOT NULL,
    shown  text NOT NULL,
    PRIMARY KEY (tenant, kind, name)
);

CREATE SCHEMA callkpi_views;

-- Formulas of the glossary ------------------------------------------------------------------------------

CREATE FUNCTION callkpi_views.ratio(part bigint, whole bigint) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN whole > 0 THEN part::double precision / whole END
$$;

CREATE FUNCTION callkpi_views.seconds_each(total_ms bigint, count bigint) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN count > 0 THEN total_ms::double precision / count / 1000 END
$$;

CREATE FUNCTION callkpi_views.service_level(
    formula text, within_sl bigint, offered bigint, answered bigint, short_abandoned bigint, abandoned_within bigint
) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE formula
        WHEN 'answered' THEN callkpi_views.ratio(within_sl, answered)
        WHEN 'offered' THEN callkpi_views.ratio(within_sl, offered)
        WHEN 'with_abandons' THEN callkpi_views.ratio(within_sl + abandoned_within + short_abandoned, offered)
        ELSE callkpi_views.ratio(within_sl, offered - short_abandoned)
    END
$$;

-- +7701•••4567, as on every other screen.
CREATE FUNCTION callkpi_views.mask(number text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN length(number) <= 4 THEN number
        WHEN length(number) = 5 THEN left(number, 1) || '•••'
        WHEN length(number) < 9 THEN left(number, 2) || '•••' || right(number, 2)
        ELSE left(number, 4) || '•••' || right(number, 4)
    END
$$;

CREATE FUNCTION callkpi_views.quarter(at timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT date_bin('15 minutes', at, '2000-01-01 00:00Z')
$$;

CREATE FUNCTION callkpi_views.next_quarter(at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT date_bin('15 minutes', at + interval '899.999999 seconds', '2000-01-01 00:00Z')
$$;

-- How old a missed customer's wait is, on the scale that colours the work list.
CREATE FUNCTION callkpi_views.age_class(age interval, working_day interval) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN age < interval '20 minutes' THEN 'fresh' WHEN age < working_day THEN 'today' ELSE 'older' END
$$;

-- What calls add up from --------------------------------------------------------------------------------

CREATE VIEW callkpi_views.tenants AS
SELECT tenant, timezone, service_level_formula, service_level_seconds, write_off, working_day FROM view_tenants;

-- Sums of whole quarters of an hour, with the names that people use.
CREATE VIEW callkpi_views.quarters AS
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

-- The same of single calls, at their own time: for windows that begin or end inside of a quarter. Ask with a narrow
-- span of started_at: a call is at most two days long.
CREATE VIEW callkpi_views.facts AS
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

-- Every KPI of a window [since, until), exact to the call: whole quarters from the rollups, the edges from the calls.
-- by: total (whole calls), queues (all stays in queues), queue, agent, line, direction, outcome.
-- step: whole, or a row per quarter, hour, day, week, month of the call centre's own clock.
-- Like the API: what names a queue counts stays in queues, what names an agent counts handles, all else calls.
CREATE FUNCTION callkpi_views.kpi(
    of_tenant text, since timestamptz, until timestamptz,
    by text DEFAULT 'total', step text DEFAULT 'whole', of_queues text[] DEFAULT NULL
) RETURNS TABLE (
    at timestamptz, name text, contacts bigint,
    offered bigint, queued bigint, rung bigint, answered bigint, talked bigint, handled bigint, missed bigint,
    abandoned bigint, short_abandoned bigint, timed_out bigint, left_empty bigint, overflowed bigint,
    no_answer bigint, busy bigint, rejected bigint, failed bigint, exited bigint, voicemail bigint,
    open bigint, expired bigint, after_hours bigint, callback_requests bigint,
    made bigint, reached bigint, not_reached bigint,
    missed_share double precision, answer_rate double precision, abandon_rate double precision,
    service_level double precision, within_service_level bigint,
    wait_seconds double precision, wait_answered_seconds double precision, asa_seconds double precision,
    longest_wait_seconds double precision, talk_seconds double precision, hold_seconds double precision,
    wrap_seconds double precision, aht_seconds double precision, ring_no_answer bigint, transferred bigint, answered_ended bigint
) LANGUAGE sql STABLE AS $$
WITH asked AS (
    SELECT t.tenant, t.timezone, t.service_level_formula AS formula, w.first, w.last,
        CASE WHEN by = 'agent' THEN 'handle'
             WHEN by IN ('queue', 'queues') OR of_queues IS NOT NULL THEN 'entry' ELSE 'call' END AS grain
    FROM callkpi_views.tenants t
    CROSS JOIN (SELECT callkpi_views.next_quarter(since) AS first, callkpi_views.quarter(until) AS last) AS w
    WHERE t.tenant = of_tenant
), told AS (
    SELECT q.*, NULL::timestamptz AS started_at, NULL::timestamptz AS last_event_at
    FROM asked JOIN callkpi_views.quarters q ON q.tenant = asked.tenant AND q.grain = asked.grain
    WHERE q.at >= callkpi_views.next_quarter(since) AND q.at < callkpi_views.quarter(until)
    UNION ALL
    SELECT f.* FROM asked JOIN callkpi_views.facts f ON f.tenant = asked.tenant AND f.grain = asked.grain
    WHERE since < asked.first AND f.at >= since AND f.at < least(asked.first, until)
        AND f.started_at > since - interval '2 days' AND f.started_at < since + interval '15 minutes'
        AND f.last_event_at >= since
    UNION ALL
    SELECT f.* FROM asked JOIN callkpi_views.facts f ON f.tenant = asked.tenant AND f.grain = asked.grain
    WHERE asked.first <= asked.last AND asked.last < until AND f.at >= asked.last AND f.at < until
        AND f.started_at > until - interval '2 days 15 minutes' AND f.started_at < until
        AND f.last_event_at >= asked.last
), named AS (
    SELECT told.*,
        CASE by WHEN 'queue' THEN queue WHEN 'agent' THEN agent WHEN 'line' THEN line WHEN 'direction' THEN direction
                WHEN 'outcome' THEN outcome ELSE '' END AS name,
        CASE step WHEN 'whole' THEN since
                  WHEN 'quarter' THEN callkpi_views.quarter(told.at)
                  ELSE date_trunc(step, told.at, asked.timezone) END AS bucket
    FROM told CROSS JOIN asked
    WHERE (of_queues IS NULL OR queue = ANY (of_queues)) AND (by NOT IN ('queue', 'queues') OR queue <> '')
    UNION ALL
    -- Nothing happened is an answer too, where all calls are one row.
    SELECT nothing.*, '', since FROM asked
    CROSS JOIN LATERAL (SELECT (NULL::callkpi_views.facts).*) AS nothing
    WHERE by IN ('total', 'queues') AND step = 'whole'
), sums AS (
    SELECT bucket, name,
        coalesce(sum(contacts), 0)::bigint AS contacts, coalesce(sum(offered), 0)::bigint AS offered,
        coalesce(sum(queued), 0)::bigint AS queued, coalesce(sum(rung), 0)::bigint AS rung,
        coalesce(sum(answered), 0)::bigint AS answered, coalesce(sum(talked), 0)::bigint AS talked,
        coalesce(sum(handled), 0)::bigint AS handled, coalesce(sum(missed), 0)::bigint AS missed,
        coalesce(sum(made), 0)::bigint AS made, coalesce(sum(reached), 0)::bigint AS reached,
        coalesce(sum(not_reached), 0)::bigint AS not_reached, coalesce(sum(within_sl), 0)::bigint AS within_sl,
        coalesce(sum(abandoned_within), 0)::bigint AS abandoned_within,
        coalesce(sum(ring_no_answer), 0)::bigint AS ring_no_answer,
        coalesce(sum(transferred), 0)::bigint AS transferred,
        coalesce(sum(wait_ms), 0)::bigint AS wait_ms, coalesce(sum(waits_answered), 0)::bigint AS waits_answered,
        coalesce(sum(wait_answered_ms), 0)::bigint AS wait_answered_ms,
        coalesce(sum(talk_ms), 0)::bigint AS talk_ms, coalesce(sum(holds), 0)::bigint AS holds,
        coalesce(sum(hold_ms), 0)::bigint AS hold_ms,
        coalesce(sum(hold_in_talk_ms), 0)::bigint AS hold_in_talk_ms, coalesce(sum(wraps), 0)::bigint AS wraps,
        coalesce(sum(wrap_ms), 0)::bigint AS wrap_ms, coalesce(max(longest_wait_ms), 0)::bigint AS longest_wait_ms,
        coalesce(sum(offered) FILTER (WHERE outcome = 'answered'), 0)::bigint AS answered_ended,
        coalesce(sum(offered) FILTER (WHERE outcome = 'abandoned'), 0)::bigint AS abandoned,
        coalesce(sum(offered) FILTER (WHERE outcome = 'short_abandon'), 0)::bigint AS short_abandoned,
        coalesce(sum(offered) FILTER (WHERE outcome = 'timed_out'), 0)::bigint AS timed_out,
        coalesce(sum(offered) FILTER (WHERE outcome = 'left_empty'), 0)::bigint AS left_empty,
        coalesce(sum(offered) FILTER (WHERE outcome = 'overflowed'), 0)::bigint AS overflowed,
        coalesce(sum(offered) FILTER (WHERE outcome = 'no_answer'), 0)::bigint AS no_answer,
        coalesce(sum(offered) FILTER (WHERE outcome = 'busy'), 0)::bigint AS busy,
        coalesce(sum(offered) FILTER (WHERE outcome = 'rejected'), 0)::bigint AS rejected,
        coalesce(sum(offered) FILTER (WHERE outcome = 'failed'), 0)::bigint AS failed,
        coalesce(sum(offered) FILTER (WHERE outcome = 'exited'), 0)::bigint AS exited,
        coalesce(sum(offered) FILTER (WHERE outcome = 'voicemail'), 0)::bigint AS voicemail,
        coalesce(sum(offered) FILTER (WHERE outcome = 'open'), 0)::bigint AS open,
        coalesce(sum(offered) FILTER (WHERE outcome = 'expired'), 0)::bigint AS expired,
        coalesce(sum(contacts - coalesce(offered, 0)) FILTER (WHERE outcome = 'after_hours'), 0)::bigint
            AS after_hours,
        coalesce(sum(contacts - coalesce(offered, 0)) FILTER (WHERE outcome = 'callback_requested'), 0)::bigint
            AS callback_requests
    FROM named GROUP BY bucket, name
)
SELECT s.bucket, s.name, s.contacts,
    s.offered, s.queued, s.rung, s.answered, s.talked, s.handled, s.missed,
    s.abandoned, s.short_abandoned, s.timed_out, s.left_empty, s.overflowed,
    s.no_answer, s.busy, s.rejected, s.failed, s.exited, s.voicemail,
    s.open, s.expired, s.after_hours, s.callback_requests, s.made, s.reached, s.not_reached,
    callkpi_views.ratio(s.missed, s.answered_ended + s.missed),
    1 - callkpi_views.ratio(s.missed, s.answered_ended + s.missed),
    callkpi_views.ratio(s.abandoned, s.offered - s.open - s.expired - s.short_abandoned),
    callkpi_views.service_level(
        (SELECT formula FROM asked), s.within_sl, s.offered, s.answered, s.short_abandoned, s.abandoned_within),
    s.within_sl,
    s.wait_ms::double precision / 1000, s.wait_answered_ms::double precision / 1000,
    callkpi_views.seconds_each(s.wait_answered_ms, s.waits_answered),
    s.longest_wait_ms::double precision / 1000, s.talk_ms::double precision / 1000,
    CASE WHEN s.holds <> 0 THEN s.hold_ms::double precision / 1000 END,
    CASE WHEN s.wraps <> 0 THEN s.wrap_ms::double precision / 1000 END,
    callkpi_views.seconds_each(s.talk_ms + s.hold_ms - s.hold_in_talk_ms + s.wrap_ms, s.handled), s.ring_no_answer, s.transferred,
    s.answered_ended
FROM sums s ORDER BY 1, 2
$$;

-- Windows -----------------------------------------------------------------------------------------------

-- The call centre's day so far, to the end of the present quarter: only rollups are read.
CREATE FUNCTION callkpi_views.today(of_tenant text) RETURNS TABLE (since timestamptz, until timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT date_trunc('day', now(), t.timezone), callkpi_views.quarter(now()) + interval '15 minutes'
    FROM callkpi_views.tenants t WHERE t.tenant = of_tenant
$$;

-- The window to compare with. day, week: the same hours of the clock a day or a week before; shift: just before.
CREATE FUNCTION callkpi_views.window_before(
    of_tenant text, begun timestamptz, ended timestamptz, against text
) RETURNS TABLE (since timestamptz, until timestamptz) LANGUAGE sql STABLE AS $$
    SELECT
        CASE WHEN against = 'shift' THEN begun - (ended - begun)
             ELSE (begun AT TIME ZONE t.timezone - d.days) AT TIME ZONE t.timezone END,
        CASE WHEN against = 'shift' THEN begun
             ELSE (ended AT TIME ZONE t.timezone - d.days) AT TIME ZONE t.timezone END
    FROM callkpi_views.tenants t
    CROSS JOIN (SELECT CASE against WHEN 'week' THEN interval '7 days' ELSE interval '1 day' END AS days) AS d
    WHERE t.tenant = of_tenant
$$;

-- Figures per day and per quarter, for those who ask by table -------------------------------------------

-- The days of each call centre, in its own zone, from its first call on. Served by the rollups' primary key.
CREATE VIEW callkpi_views.calendar AS
SELECT t.tenant, d.day, b.by, d.day <= (now() AT TIME ZONE t.timezone)::date AS has_begun,
    d.day::timestamp AT TIME ZONE t.timezone AS since, (d.day + 1)::timestamp AT TIME ZONE t.timezone AS until
FROM callkpi_views.tenants t
CROSS JOIN LATERAL (
    SELECT (min(r.at) AT TIME ZONE t.timezone)::date AS first, (max(r.at) AT TIME ZONE t.timezone)::date AS last
    FROM rollups r WHERE r.tenant = t.tenant AND r.grain = 'call'
) AS s
CROSS JOIN LATERAL (
    -- A call is at most two days long.
    SELECT s.first + n AS day FROM generate_series(0, s.last + 2 - s.first) AS n
) AS d
CROSS JOIN (VALUES ('total'), ('queues'), ('queue'), ('agent'), ('line'), ('direction'), ('outcome')) AS b (by);

-- One row per day of the call centre's own zone and per queue, agent, line, direction or all calls. Filter by
-- tenant, day and "by": only these days are read.
CREATE VIEW callkpi_views.days AS
SELECT c.tenant, c.day, c.by, k.*
FROM callkpi_views.calendar c CROSS JOIN LATERAL callkpi_views.kpi(c.tenant, c.since, c.until, c.by) AS k
WHERE c.has_begun OR k.contacts > 0;

-- The same per quarter of an hour. Filter by day too, so that only these days are read.
CREATE VIEW callkpi_views.intervals AS
SELECT c.tenant, c.day, c.by, k.*
FROM callkpi_views.calendar c CROSS JOIN LATERAL callkpi_views.kpi(c.tenant, c.since, c.until, c.by, 'quarter') AS k;

-- Missed customers --------------------------------------------------------------------------------------

-- Every missed call (and request to be called) with what became of its customer by now.
CREATE VIEW callkpi_views.missed_calls AS
SELECT m.tenant, m.started_at, m.source || '/' || m.call_id AS call,
    CASE WHEN t.numbers = 'full' THEN m.customer ELSE callkpi_views.mask(m.customer) END AS customer,
    m.customer = '' AS hidden_number,
    coalesce(q.shown, m.queue) AS queue, coalesce(l.shown, m.line) AS line, m.outcome,
    CASE WHEN m.fate IN ('waiting', 'called_back') AND m.started_at < now() - t.write_off THEN 'written_off'
         ELSE m.fate END AS fate,
    m.called_back_at, m.reached_at
FROM missed_calls m
JOIN view_tenants t ON t.tenant = m.tenant
LEFT JOIN view_names q ON (q.tenant, q.kind, q.name) = (m.tenant, 'queue', m.queue)
LEFT JOIN view_names l ON (l.tenant, l.kind, l.name) = (m.tenant, 'line', m.line);

-- The work list: customers nobody has spoken to since we missed them, a row each (a hidden number's calls are a row
-- each). age_class: fresh is under 20 minutes, today under a working day.
CREATE VIEW callkpi_views.missed AS
SELECT i.tenant,
    CASE WHEN i.numbers = 'full' THEN i.customer ELSE callkpi_views.mask(i.customer) END AS customer,
    i.customer = '' AS hidden_number, i.calls, i.first_missed_at, i.last_missed_at,
    extract(epoch FROM now() - i.first_missed_at)::double precision AS waiting_seconds,
    callkpi_views.age_class(now() - i.first_missed_at, i.working_day) AS age_class,
    i.fate, i.called_back_at, coalesce(q.shown, i.queue) AS queue, coalesce(l.shown, i.line) AS line, i.outcome,
    i.last_call
FROM (
    SELECT m.tenant, t.numbers, t.working_day, m.customer, count(*) AS calls,
        min(m.started_at) AS first_missed_at, max(m.started_at) AS last_missed_at,
        max(m.called_back_at) AS called_back_at,
        CASE WHEN bool_or(m.fate = 'called_back') THEN 'called_back' ELSE 'waiting' END AS fate,
        (array_agg(m.line ORDER BY m.started_at DESC))[1] AS line,
        (array_agg(m.queue ORDER BY m.started_at DESC))[1] AS queue,
        (array_agg(m.outcome ORDER BY m.started_at DESC))[1] AS outcome,
        (array_agg(m.source || '/' || m.call_id ORDER BY m.started_at DESC))[1] AS last_call
    FROM missed_calls m JOIN view_tenants t ON t.tenant = m.tenant
    WHERE m.fate IN ('waiting', 'called_back') AND m.started_at >= now() - t.write_off
    GROUP BY m.tenant, t.numbers, t.working_day, m.customer,
        CASE WHEN m.customer = '' THEN m.source || '/' || m.call_id ELSE '' END
) AS i
LEFT JOIN view_names q ON (q.tenant, q.kind, q.name) = (i.tenant, 'queue', i.queue)
LEFT JOIN view_names l ON (l.tenant, l.kind, l.name) = (i.tenant, 'line', i.line);

-- What became of the calls missed in a window. by: total, queue, line.
CREATE FUNCTION callkpi_views.fates(
    of_tenant text, since timestamptz, until timestamptz, by text DEFAULT 'total'
) RETURNS TABLE (
    name text, called_back bigint, reached_after_miss bigint, self_served bigint, still_waiting bigint,
    written_off bigint
) LANGUAGE sql STABLE AS $$
    SELECT CASE by WHEN 'queue' THEN m.queue WHEN 'line' THEN m.line ELSE '' END,
        count(*) FILTER (WHERE m.called_back_at IS NOT NULL), count(*) FILTER (WHERE m.fate = 'reached'),
        count(*) FILTER (WHERE m.fate = 'self_served'),
        count(*) FILTER (WHERE m.fate IN ('waiting', 'called_back')),
        count(*) FILTER (WHERE m.fate = 'written_off')
    FROM callkpi_views.missed_calls m
    WHERE m.tenant = of_tenant AND m.started_at >= since AND m.started_at < until
        AND m.outcome <> 'callback_requested' AND (by <> 'queue' OR m.queue <> '')
    GROUP BY 1 ORDER BY 1
$$;

-- Whole calls by weekday (1 is Monday) and hour of the call centre's own clock.
CREATE FUNCTION callkpi_views.missed_by_hour(of_tenant text, since timestamptz, until timestamptz)
RETURNS TABLE (weekday integer, hour integer, offered bigint, missed bigint, missed_share double precision)
LANGUAGE sql STABLE AS $$
    SELECT extract(isodow FROM k.at AT TIME ZONE t.timezone)::integer,
        extract(hour FROM k.at AT TIME ZONE t.timezone)::integer,
        sum(k.offered)::bigint, sum(k.missed)::bigint,
        callkpi_views.ratio(sum(k.missed)::bigint, sum(k.answered_ended + k.missed)::bigint)
    FROM callkpi_views.tenants t
    CROSS JOIN LATERAL callkpi_views.kpi(t.tenant, since, until, 'total', 'hour') AS k
    WHERE t.tenant = of_tenant
    GROUP BY 1, 2 ORDER BY 1, 2
$$;

-- Funnel, agents, shift ---------------------------------------------------------------------------------

-- Stages in order, with their share of the one before and of the first.
CREATE FUNCTION callkpi_views.funnel(
    of_tenant text, since timestamptz, until timestamptz, of_queues text[] DEFAULT NULL
) RETURNS TABLE (
    place integer, stage text, calls bigint, of_previous double precision, of_first double precision
) LANGUAGE sql STABLE AS $$
    SELECT s.place, s.stage, s.calls,
        CASE WHEN s.place > 1 THEN callkpi_views.ratio(s.calls, lag(s.calls) OVER (ORDER BY s.place)) END,
        callkpi_views.ratio(s.calls, first_value(s.calls) OVER (ORDER BY s.place))
    FROM callkpi_views.kpi(of_tenant, since, until, 'total', 'whole', of_queues) AS k
    CROSS JOIN LATERAL (VALUES
        (1, 'offered', k.offered), (2, 'queued', k.queued), (3, 'rung', k.rung), (4, 'answered', k.answered),
        (5, 'talked', k.talked)
    ) AS s (place, stage, calls)
    ORDER BY s.place
$$;

-- The missed branch: missed, called back by us, then spoken to (our call or theirs that was answered).
CREATE FUNCTION callkpi_views.missed_funnel(of_tenant text, since timestamptz, until timestamptz)
RETURNS TABLE (place integer, stage text, calls bigint, of_first double precision) LANGUAGE sql STABLE AS $$
    SELECT s.place, s.stage, s.calls, callkpi_views.ratio(s.calls, k.missed)
    FROM callkpi_views.kpi(of_tenant, since, until) AS k
    LEFT JOIN callkpi_views.fates(of_tenant, since, until) AS f ON true
    CROSS JOIN LATERAL (VALUES
        (1, 'missed', k.missed), (2, 'called_back', coalesce(f.called_back, 0)),
        (3, 'reached_after_miss', coalesce(f.reached_after_miss, 0)), (4, 'self_served', coalesce(f.self_served, 0)),
        (5, 'still_waiting', coalesce(f.still_waiting, 0)), (6, 'written_off', coalesce(f.written_off, 0))
    ) AS s (place, stage, calls)
    ORDER BY s.place
$$;

CREATE VIEW callkpi_views.agent_quarters AS
SELECT r.tenant, coalesce(a.shown, r.agent) AS agent, r.at, r.pauses, r.resumes, r.logins, r.logouts
FROM agent_rollups r LEFT JOIN view_names a ON (a.tenant, a.kind, a.name) = (r.tenant, 'agent', r.agent);

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

-- Where every agent is now: the state that his source told last; ringing and talking from the calls that go on.
CREATE VIEW callkpi_views.agents_now AS
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

-- The same people once each: who talks in one queue is not free in another, whatever its phone system says.
CREATE VIEW callkpi_views.people_now AS
SELECT DISTINCT ON (tenant, agent) tenant, agent, state, reason, since
FROM callkpi_views.agents_now
ORDER BY tenant, agent,
    array_position(ARRAY['talking', 'ringing', 'busy', 'available', 'paused', 'offline'], state), since DESC;

-- A window beside the one before it, by any dimension.
CREATE FUNCTION callkpi_views.compare(
    of_tenant text, since timestamptz, until timestamptz, against text DEFAULT 'day', by text DEFAULT 'total'
) RETURNS TABLE (
    name text, offered bigint, offered_before bigint, answered bigint, answered_before bigint,
    handled bigint, handled_before bigint, missed bigint, missed_before bigint,
    missed_share double precision, missed_share_before double precision,
    service_level double precision, service_level_before double precision,
    asa_seconds double precision, asa_seconds_before double precision,
    aht_seconds double precision, aht_seconds_before double precision
) LANGUAGE sql STABLE AS $$
    SELECT coalesce(k.name, b.name), coalesce(k.offered, 0), coalesce(b.offered, 0), coalesce(k.answered, 0),
        coalesce(b.answered, 0), coalesce(k.handled, 0), coalesce(b.handled, 0), coalesce(k.missed, 0),
        coalesce(b.missed, 0), k.missed_share, b.missed_share, k.service_level, b.service_level,
        k.asa_seconds, b.asa_seconds, k.aht_seconds, b.aht_seconds
    FROM callkpi_views.kpi(of_tenant, since, until, by) AS k
    FULL JOIN (
        SELECT p.* FROM callkpi_views.window_before(of_tenant, since, until, against) AS w
        CROSS JOIN LATERAL callkpi_views.kpi(of_tenant, w.since, w.until, by) AS p
    ) AS b ON b.name = k.name
    ORDER BY 1
$$;

-- The shift in lines: each KPI with its value before, the change, and for counts and times the change as a share.
CREATE FUNCTION callkpi_views.shift_summary(
    of_tenant text, begun timestamptz, ended timestamptz, against text DEFAULT 'day'
) RETURNS TABLE (
    place integer, kpi text, unit text, value double precision, before double precision,
    change double precision, change_share double precision
) LANGUAGE sql STABLE AS $$
    SELECT s.place, s.kpi, s.unit, s.value, s.before, s.value - s.before,
        CASE WHEN s.unit <> 'share' AND s.before > 0 THEN (s.value - s.before) / s.before END
    FROM callkpi_views.window_before(of_tenant, begun, ended, against) AS w
    CROSS JOIN LATERAL callkpi_views.kpi(of_tenant, begun, ended) AS k
    CROSS JOIN LATERAL callkpi_views.kpi(of_tenant, w.since, w.until) AS b
    CROSS JOIN LATERAL (VALUES
        (1, 'offered', 'count', k.offered::double precision, b.offered::double precision),
        (2, 'answered', 'count', k.answered, b.answered), (3, 'missed', 'count', k.missed, b.missed),
        (4, 'abandoned', 'count', k.abandoned, b.abandoned),
        (5, 'short_abandoned', 'count', k.short_abandoned, b.short_abandoned),
        (6, 'timed_out', 'count', k.timed_out, b.timed_out), (7, 'exited', 'count', k.exited, b.exited),
        (8, 'handled', 'count', k.handled, b.handled), (9, 'made', 'count', k.made, b.made),
        (10, 'reached', 'count', k.reached, b.reached), (11, 'after_hours', 'count', k.after_hours, b.after_hours),
        (12, 'open', 'count', k.open, b.open), (13, 'expired', 'count', k.expired, b.expired),
        (14, 'missed_share', 'share', k.missed_share, b.missed_share),
        (15, 'answer_rate', 'share', k.answer_rate, b.answer_rate),
        (16, 'abandon_rate', 'share', k.abandon_rate, b.abandon_rate),
        (17, 'service_level', 'share', k.service_level, b.service_level),
        (18, 'asa_seconds', 'seconds', k.asa_seconds, b.asa_seconds),
        (19, 'longest_wait_seconds', 'seconds', k.longest_wait_seconds, b.longest_wait_seconds),
        (20, 'aht_seconds', 'seconds', k.aht_seconds, b.aht_seconds),
        (21, 'talk_seconds', 'seconds', k.talk_seconds, b.talk_seconds)
    ) AS s (place, kpi, unit, value, before)
    ORDER BY s.place
$$;

-- Who may read ------------------------------------------------------------------------------------------

-- Gives callkpi_reader the views and nothing else. An administrator may call it again after he made the role.
CREATE FUNCTION prepare_reader() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'callkpi_reader') THEN
        RETURN 'there is no role callkpi_reader';
    END IF;
    GRANT USAGE ON SCHEMA callkpi_views TO callkpi_reader;
    GRANT SELECT ON ALL TABLES IN SCHEMA callkpi_views TO callkpi_reader;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA callkpi_views TO callkpi_reader;
    BEGIN
        ALTER ROLE callkpi_reader SET default_transaction_read_only = on;
        ALTER ROLE callkpi_reader SET statement_timeout = '30s';
        ALTER ROLE callkpi_reader SET jit = off;
    EXCEPTION WHEN insufficient_privilege THEN
        RETURN 'callkpi_reader belongs to somebody else: its limits are not set';
    END;
    RETURN 'callkpi_reader is ready';
END $$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'callkpi_reader') THEN
        CREATE ROLE callkpi_reader NOLOGIN;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'this user may not create the role callkpi_reader: the README says what an administrator has to run';
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA callkpi_views FROM PUBLIC;

SELECT prepare_reader();

-- migrate: rollback

-- The role stays: it belongs to the whole server, and another database may use it.
DROP FUNCTION prepare_reader();
DROP SCHEMA callkpi_views CASCADE;
DROP TABLE view_names;
DROP TABLE view_tenants;
