-- sums per day of the call centre, by source and custom fields too: what a month or a year is read from
-- depends: 20261125_04_crm_funnel

-- migrate: apply

-- What the days of a tenant are days of, and since which day they are complete. A fact of an earlier day is not counted
-- in day_rollups yet; what reads them looks elsewhere for it. Who changes a row holds the lock callkpi.days.
CREATE TABLE day_spans (
    tenant text PRIMARY KEY,
    zone   text   NOT NULL,
    fields text[] NOT NULL,
    since  date   NOT NULL
);

-- Exact sums per local day, as in rollups. Rows without a field count everything; those of a field count it again by
-- the field's value, '' where a call has none.
CREATE TABLE day_rollups (
    tenant            text NOT NULL,
    field             text NOT NULL,
    grain             text NOT NULL,
    day               date NOT NULL,
    source            text NOT NULL,
    value             text NOT NULL,
    queue             text NOT NULL,
    agent             text NOT NULL,
    line              text NOT NULL,
    direction         text NOT NULL,
    outcome           text NOT NULL,
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
    hold_in_talk_ms   bigint NOT NULL DEFAULT 0,
    wraps             bigint NOT NULL DEFAULT 0,
    wrap_ms           bigint NOT NULL DEFAULT 0,
    longest_wait_ms   bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, field, grain, day, source, value, queue, agent, line, direction, outcome)
) WITH (fillfactor = 70);

-- The facts of a tenant's calls that lie in [since, until), as columns. Served by calls_by_time; a call is at most two
-- days long. *told* are the custom fields and the CRM's references of the fact's call.
CREATE FUNCTION call_facts(of_tenant text, since timestamptz, until timestamptz) RETURNS TABLE (
    source text, told json, crm json, grain text, at timestamptz, queue text, agent text, line text, direction text,
    outcome text,
    contacts bigint, offered bigint, queued bigint, rung bigint, answered bigint, talked bigint, handled bigint,
    missed bigint, made bigint, reached bigint, not_reached bigint, within_sl bigint, abandoned_within bigint,
    ring_no_answer bigint, transferred bigint, waits bigint, wait_ms bigint, waits_answered bigint,
    wait_answered_ms bigint, talks bigint, talk_ms bigint, holds bigint, hold_ms bigint, hold_in_talk_ms bigint,
    wraps bigint, wrap_ms bigint,
    longest_wait_ms bigint
) LANGUAGE sql STABLE AS $$
    SELECT c.source, c.body -> 'fields', c.body -> 'crm', f.grain, f.at, f.queue, f.agent, f.line, f.direction,
        f.outcome,
        coalesce(m.contacts, 0), coalesce(m.offered, 0), coalesce(m.queued, 0), coalesce(m.rung, 0),
        coalesce(m.answered, 0), coalesce(m.talked, 0), coalesce(m.handled, 0), coalesce(m.missed, 0),
        coalesce(m.made, 0), coalesce(m.reached, 0), coalesce(m.not_reached, 0), coalesce(m.within_sl, 0),
        coalesce(m.abandoned_within, 0), coalesce(m.ring_no_answer, 0), coalesce(m.transferred, 0),
        coalesce(m.waits, 0), coalesce(m.wait_ms, 0), coalesce(m.waits_answered, 0),
        coalesce(m.wait_answered_ms, 0), coalesce(m.talks, 0), coalesce(m.talk_ms, 0), coalesce(m.holds, 0),
        coalesce(m.hold_ms, 0), coalesce(m.hold_in_talk_ms, 0), coalesce(m.wraps, 0), coalesce(m.wrap_ms, 0),
        CASE WHEN f.outcome = 'open' THEN 0 ELSE coalesce(m.wait_ms, 0) END
    FROM calls c
    CROSS JOIN LATERAL json_to_recordset(c.facts) AS f (
        grain text, at timestamptz, queue text, agent text, line text, direction text, outcome text, m json
    )
    CROSS JOIN LATERAL json_to_record(f.m) AS m (
        contacts bigint, offered bigint, queued bigint, rung bigint, answered bigint, talked bigint, handled bigint,
        missed bigint, made bigint, reached bigint, not_reached bigint, within_sl bigint, abandoned_within bigint,
        ring_no_answer bigint, transferred bigint, waits bigint, wait_ms bigint, waits_answered bigint,
        wait_answered_ms bigint, talks bigint, talk_ms bigint, holds bigint, hold_ms bigint, hold_in_talk_ms bigint,
        wraps bigint, wrap_ms bigint
    )
    WHERE c.tenant = of_tenant AND c.started_at > since - interval '2 days' AND c.started_at < until
        AND c.last_event_at >= since AND f.at >= since AND f.at < until
$$;

-- The value by which a call is counted in reports of a field.
CREATE FUNCTION field_value(field text, told json, crm json) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT left(coalesce(nullif(told ->> field, ''), crm ->> field, ''), 64)
$$;

-- What day_rollups must hold of the days [first, after), from the calls themselves.
CREATE FUNCTION day_sums(of_tenant text, first date, after date) RETURNS TABLE (
    field text, grain text, day date, source text, value text, queue text, agent text, line text, direction text,
    outcome text,
    contacts bigint, offered bigint, queued bigint, rung bigint, answered bigint, talked bigint, handled bigint,
    missed bigint, made bigint, reached bigint, not_reached bigint, within_sl bigint, abandoned_within bigint,
    ring_no_answer bigint, transferred bigint, waits bigint, wait_ms bigint, waits_answered bigint,
    wait_answered_ms bigint, talks bigint, talk_ms bigint, holds bigint, hold_ms bigint, hold_in_talk_ms bigint,
    wraps bigint, wrap_ms bigint,
    longest_wait_ms bigint
) LANGUAGE sql STABLE AS $$
    SELECT n.field, f.grain, (f.at AT TIME ZONE s.zone)::date AS day, f.source,
        CASE WHEN n.field = '' THEN '' ELSE field_value(n.field, f.told, f.crm) END AS value,
        f.queue, f.agent, f.line, f.direction, f.outcome,
        sum(f.contacts)::bigint, sum(f.offered)::bigint, sum(f.queued)::bigint, sum(f.rung)::bigint,
        sum(f.answered)::bigint, sum(f.talked)::bigint, sum(f.handled)::bigint, sum(f.missed)::bigint,
        sum(f.made)::bigint, sum(f.reached)::bigint, sum(f.not_reached)::bigint, sum(f.within_sl)::bigint,
        sum(f.abandoned_within)::bigint, sum(f.ring_no_answer)::bigint, sum(f.transferred)::bigint,
        sum(f.waits)::bigint, sum(f.wait_ms)::bigint, sum(f.waits_answered)::bigint,
        sum(f.wait_answered_ms)::bigint, sum(f.talks)::bigint, sum(f.talk_ms)::bigint, sum(f.holds)::bigint,
        sum(f.hold_ms)::bigint, sum(f.hold_in_talk_ms)::bigint, sum(f.wraps)::bigint, sum(f.wrap_ms)::bigint,
        max(f.longest_wait_ms)::bigint
    FROM day_spans s
    CROSS JOIN LATERAL call_facts(of_tenant, first::timestamp AT TIME ZONE s.zone - interval '1 day',
                                  after::timestamp AT TIME ZONE s.zone + interval '1 day') AS f
    CROSS JOIN LATERAL unnest(array_prepend('', s.fields)) AS n (field)
    WHERE s.tenant = of_tenant AND (f.at AT TIME ZONE s.zone)::date >= first AND (f.at AT TIME ZONE s.zone)::date < after
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
$$;

-- migrate: rollback

DROP FUNCTION day_sums(text, date, date);
DROP FUNCTION field_value(text, json, json);
DROP FUNCTION call_facts(text, timestamptz, timestamptz);
DROP TABLE day_rollups;
DROP TABLE day_spans;
