-- what summaries read besides sums: callers' waits, calls whose facts disagree, missed calls with their settlement
-- depends: 20261126_02_months

-- migrate: apply

-- When callers waited: from when, in which queue ('' for a direct answer) and for how long; NULL while one waits. It is
-- what callkpi.kpi.waits reads in a call's facts, by time, so that no call has to be read for the peak of a shift.
CREATE TABLE waits (
    tenant     text        NOT NULL,
    entered_at timestamptz NOT NULL,
    source     text        NOT NULL,
    call_id    text        NOT NULL,
    queue      text        NOT NULL,
    wait_ms    bigint,
    PRIMARY KEY (tenant, entered_at, source, call_id, queue)
);

-- The same of the facts of one call.
CREATE FUNCTION waits_of(facts json) RETURNS TABLE (entered_at timestamptz, queue text, wait_ms bigint)
LANGUAGE sql STABLE AS $$
    SELECT at, queue, CASE WHEN bool_or(waits IS NULL) THEN NULL ELSE max(coalesce(wait_ms, 0)) END
    FROM (
        SELECT f.at, f.queue, f.outcome, f.grain = 'call' AS is_whole, bool_or(f.grain = 'entry') OVER () AS stays,
            m.offered, m.answered, m.waits, m.wait_ms
        FROM json_to_recordset(facts) AS f (grain text, at timestamptz, queue text, outcome text, m json)
        CROSS JOIN LATERAL json_to_record(f.m) AS m (offered bigint, answered bigint, waits bigint, wait_ms bigint)
        WHERE f.grain IN ('call', 'entry')
    ) AS told
    WHERE is_whole <> stays AND offered = 1 AND (waits = 1 OR outcome = 'open' AND answered IS NULL)
    GROUP BY at, queue
$$;

INSERT INTO waits (tenant, entered_at, source, call_id, queue, wait_ms)
SELECT c.tenant, w.entered_at, c.source, c.call_id, w.queue, w.wait_ms
FROM calls c CROSS JOIN LATERAL waits_of(c.facts) AS w
ON CONFLICT DO NOTHING;

-- Calls whose facts disagree are few, which no statistics tell the planner. It takes a range of an expression for a few
-- rows, and so uses this index.
CREATE INDEX calls_doubtful ON calls (tenant, greatest(started_at, started_at)) WHERE body::text NOT LIKE '%"flags":[]%';

-- Which earlier calls still went on can be read from the index alone.
DROP INDEX calls_by_time;
CREATE INDEX calls_by_time ON calls (tenant, started_at) INCLUDE (last_event_at, ended_at, direction);

-- Calls that went on at some time of [since, until). A call is at most two days long; of earlier ones those that went on
-- are found in calls_by_time alone, for most had ended.
CREATE FUNCTION calls_going(of_tenant text, since timestamptz, until timestamptz) RETURNS SETOF calls
LANGUAGE sql STABLE AS $$
    SELECT * FROM calls WHERE tenant = of_tenant AND started_at >= since AND started_at < until
    UNION ALL
    SELECT c.* FROM (
        SELECT DISTINCT started_at FROM calls
        WHERE tenant = of_tenant AND started_at > since - interval '2 days' AND started_at < since
            AND last_event_at >= since
    ) AS early
    CROSS JOIN LATERAL (
        SELECT * FROM calls k WHERE k.tenant = of_tenant AND k.started_at = early.started_at OFFSET 0
    ) AS c
    WHERE c.last_event_at >= since
$$;

-- As before, from those calls.
CREATE OR REPLACE FUNCTION call_facts(of_tenant text, since timestamptz, until timestamptz) RETURNS TABLE (
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
    FROM calls_going(of_tenant, since, until) AS c
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
    WHERE f.at >= since AND f.at < until
$$;

-- What sources told in a window: a journal is in the order of time but for what comes late.
CREATE INDEX journal_by_time ON journal USING brin (at) WITH (pages_per_range = 32, autosummarize = on);

-- What became of missed calls is counted from the index alone.
DROP INDEX missed_by_time;
CREATE INDEX missed_by_time ON missed_calls (tenant, started_at)
    INCLUDE (queue, line, source, outcome, fate, called_back_at);

-- What became of missed calls, and when that was: the time of a conversation, or of the hand that closed the item. The
-- items of hidden numbers begin with *hidden*.
CREATE FUNCTION missed_settled(of_tenant text, hidden text) RETURNS TABLE (
    source text, call_id text, started_at timestamptz, customer text, line text, queue text, outcome text, fate text,
    called_back_at timestamptz, reached_at timestamptz, settled_at timestamptz
) LANGUAGE sql STABLE AS $$
    SELECT m.source, m.call_id, m.started_at, m.customer, m.line, m.queue, m.outcome, m.fate, m.called_back_at,
        m.reached_at, coalesce(m.reached_at, closed.at)
    FROM missed_calls m
    CROSS JOIN LATERAL (
        SELECT min((s.value ->> 'at')::timestamptz) AS at
        FROM work_items w, json_array_elements(w.body -> 'settlements') AS s (value)
        WHERE m.fate = 'written_off' AND w.tenant = m.tenant
            AND w.item = CASE WHEN m.customer = '' THEN hidden || m.source || '/' || m.call_id ELSE m.customer END
            AND (s.value ->> 'at')::timestamptz >= m.started_at
    ) AS closed
    WHERE m.tenant = of_tenant
$$;

-- migrate: rollback

DROP FUNCTION missed_settled(text, text);
DROP INDEX journal_by_time;
DROP INDEX missed_by_time;
CREATE INDEX missed_by_time ON missed_calls (tenant, started_at);
CREATE OR REPLACE FUNCTION call_facts(of_tenant text, since timestamptz, until timestamptz) RETURNS TABLE (
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
DROP FUNCTION calls_going(text, timestamptz, timestamptz);
DROP INDEX calls_by_time;
CREATE INDEX calls_by_time ON calls (tenant, started_at);
DROP INDEX calls_doubtful;
DROP FUNCTION waits_of(json);
DROP TABLE waits;
