-- sums per month of the call centre, without lines: what months and years are read from
-- depends: 20261126_01_outages

-- migrate: apply

-- Sums of months hold the days of day_rollups from day_spans.since to before this one; whole days are taken over some
-- time after they are over, and what changes in them later is added to both.
ALTER TABLE day_spans ADD COLUMN months_until date NOT NULL DEFAULT '-infinity';

-- Exact sums per local month, as in day_rollups, of which they are sums. They are not told apart by line: where each
-- agent may take each line there would be nearly as many rows as conversations.
CREATE TABLE month_rollups (
    tenant            text NOT NULL,
    field             text NOT NULL,
    grain             text NOT NULL,
    month             date NOT NULL,
    source            text NOT NULL,
    value             text NOT NULL,
    queue             text NOT NULL,
    agent             text NOT NULL,
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
    PRIMARY KEY (tenant, field, grain, month, source, value, queue, agent, direction, outcome)
) WITH (fillfactor = 70);

-- What the days [first, after) add to month_rollups. Served by the primary key, a field and a grain at a time.
CREATE FUNCTION month_sums(of_tenant text, first date, after date) RETURNS SETOF month_rollups LANGUAGE sql STABLE AS $$
    SELECT d.tenant, d.field, d.grain, date_trunc('month', d.day)::date, d.source, d.value, d.queue, d.agent,
        d.direction, d.outcome,
        sum(d.contacts)::bigint, sum(d.offered)::bigint, sum(d.queued)::bigint, sum(d.rung)::bigint,
        sum(d.answered)::bigint, sum(d.talked)::bigint, sum(d.handled)::bigint, sum(d.missed)::bigint,
        sum(d.made)::bigint, sum(d.reached)::bigint, sum(d.not_reached)::bigint, sum(d.within_sl)::bigint,
        sum(d.abandoned_within)::bigint, sum(d.ring_no_answer)::bigint, sum(d.transferred)::bigint,
        sum(d.waits)::bigint, sum(d.wait_ms)::bigint, sum(d.waits_answered)::bigint, sum(d.wait_answered_ms)::bigint,
        sum(d.talks)::bigint, sum(d.talk_ms)::bigint, sum(d.holds)::bigint, sum(d.hold_ms)::bigint,
        sum(d.hold_in_talk_ms)::bigint, sum(d.wraps)::bigint, sum(d.wrap_ms)::bigint, max(d.longest_wait_ms)
    FROM day_spans s
    CROSS JOIN LATERAL unnest(array_prepend('', s.fields)) AS n (field)
    CROSS JOIN unnest('{call, entry, handle}'::text[]) AS g (grain)
    JOIN day_rollups d ON d.tenant = s.tenant AND d.field = n.field AND d.grain = g.grain
    WHERE s.tenant = of_tenant AND d.day >= first AND d.day < after
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
$$;

-- migrate: rollback

DROP FUNCTION month_sums(text, date, date);
DROP TABLE month_rollups;
ALTER TABLE day_spans DROP COLUMN months_until;
