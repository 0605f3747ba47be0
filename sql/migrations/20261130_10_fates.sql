-- one definition of a missed call's fate as of a moment
-- depends: 20261126_03_reading

-- migrate: apply

-- The fate of a missed call, when what was missed before *written_off* and nobody settled is written off. The same as
-- callkpi.fates.judged.
CREATE FUNCTION fate_at(fate text, started_at timestamptz, written_off timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN fate IN ('waiting', 'called_back') AND started_at < written_off THEN 'written_off' ELSE fate END
$$;

CREATE OR REPLACE VIEW callkpi_views.missed_calls AS
SELECT m.tenant, m.started_at, m.source || '/' || m.call_id AS call,
    CASE WHEN t.numbers = 'full' THEN m.customer ELSE callkpi_views.mask(m.customer) END AS customer,
    m.customer = '' AS hidden_number,
    coalesce(q.shown, m.queue) AS queue, coalesce(l.shown, m.line) AS line, m.outcome,
    fate_at(m.fate, m.started_at, now() - t.write_off) AS fate,
    m.called_back_at, m.reached_at
FROM missed_calls m
JOIN view_tenants t ON t.tenant = m.tenant
LEFT JOIN view_names q ON (q.tenant, q.kind, q.name) = (m.tenant, 'queue', m.queue)
LEFT JOIN view_names l ON (l.tenant, l.kind, l.name) = (m.tenant, 'line', m.line);

-- migrate: rollback

CREATE OR REPLACE VIEW callkpi_views.missed_calls AS
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
DROP FUNCTION fate_at(text, timestamptz, timestamptz);
