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

-- Which calls went on at a moment can be read from the index alone.
DROP INDEX calls_by_time;
CREATE INDEX calls_by_time ON calls (tenant, started_at) INCLUDE (ended_at, direction);

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
DROP INDEX missed_by_time;
CREATE INDEX missed_by_time ON missed_calls (tenant, started_at);
DROP INDEX calls_by_time;
CREATE INDEX calls_by_time ON calls (tenant, started_at);
DROP INDEX calls_doubtful;
DROP FUNCTION waits_of(json);
DROP TABLE waits;
