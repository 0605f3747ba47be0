-- waits of calls whose times can't be believed are none
-- depends: 20261126_03_reading

-- migrate: apply

-- As before; a call that says of itself that its times can't be waited nobody knows how long.
CREATE OR REPLACE FUNCTION waits_of(facts json) RETURNS TABLE (entered_at timestamptz, queue text, wait_ms bigint)
LANGUAGE sql STABLE AS $$
    SELECT at, queue, CASE WHEN bool_or(waits IS NULL) THEN NULL ELSE max(coalesce(wait_ms, 0)) END
    FROM (
        SELECT f.at, f.queue, f.outcome, f.grain = 'call' AS is_whole, bool_or(f.grain = 'entry') OVER () AS stays,
            m.offered, m.answered, m.waits, m.wait_ms, m.implausible_time
        FROM json_to_recordset(facts) AS f (grain text, at timestamptz, queue text, outcome text, m json)
        CROSS JOIN LATERAL json_to_record(f.m) AS m (
            offered bigint, answered bigint, waits bigint, wait_ms bigint, implausible_time bigint
        )
        WHERE f.grain IN ('call', 'entry')
    ) AS told
    WHERE is_whole <> stays AND offered = 1 AND implausible_time IS NULL
        AND (waits = 1 OR outcome = 'open' AND answered IS NULL)
    GROUP BY at, queue
$$;

-- migrate: rollback

CREATE OR REPLACE FUNCTION waits_of(facts json) RETURNS TABLE (entered_at timestamptz, queue text, wait_ms bigint)
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
