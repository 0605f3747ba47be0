-- name: try_lock
-- One process at a time sends.
SELECT pg_try_advisory_lock(hashtext('callkpi.courier'));

-- name: add_since
-- Since when a report is configured; the first time it is seen, now.
WITH added AS (
    INSERT INTO report_since (tenant, report, since) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING since
)
SELECT since FROM added UNION ALL SELECT since FROM report_since WHERE tenant = $1 AND report = $2 LIMIT 1;

-- name: periods_made
-- Periods of a report that have an edition. Served by the primary key.
SELECT DISTINCT period FROM report_editions WHERE tenant = $1 AND report = $2 AND period = ANY ($3::text[]);

-- name: add_edition
-- Keep an edition. Nothing happens if it is there already.
INSERT INTO report_editions (tenant, report, period, edition, end_at, fingerprint, summary)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING edition;

-- name: supersede
-- What was not sent yet is not sent any more: there is a newer edition.
UPDATE deliveries SET state = 'superseded'
WHERE (tenant, report, period) = ($1, $2, $3) AND edition < $4 AND state = 'waiting';

-- name: add_delivery
-- An edition is to be sent to a receiver.
INSERT INTO deliveries (tenant, report, period, edition, receiver, way, next_at, made_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
ON CONFLICT DO NOTHING;

-- name: latest_editions
-- The newest editions of periods that ended since a time.
SELECT DISTINCT ON (tenant, report, period) * FROM report_editions
WHERE end_at >= $1::timestamptz ORDER BY tenant, report, period, edition DESC;

-- name: drifted
-- The figures are not those of the edition any more, or are them again ('').
UPDATE report_editions SET drifted_to = $5, drifted_at = $6
WHERE (tenant, report, period, edition) = ($1, $2, $3, $4);

-- name: due
-- Deliveries to be tried now, oldest first.
SELECT * FROM deliveries WHERE state IN ('waiting', 'sending') AND next_at <= $1::timestamptz
ORDER BY next_at, tenant, report, period, edition, receiver LIMIT 50;

-- name: begin_sending
-- From here on it may have arrived.
UPDATE deliveries SET state = 'sending', attempts = attempts + 1
WHERE (tenant, report, period, edition, receiver) = ($1, $2, $3, $4, $5);

-- name: finish
-- What became of an attempt.
UPDATE deliveries SET state = $6, next_at = $7, error = $8, sent_at = CASE WHEN $6 = 'sent' THEN $9::timestamptz END
WHERE (tenant, report, period, edition, receiver) = ($1, $2, $3, $4, $5);

-- name: edition
-- One edition.
SELECT * FROM report_editions WHERE (tenant, report, period, edition) = ($1, $2, $3, $4);

-- name: newest
-- The newest edition of a period.
SELECT * FROM report_editions WHERE (tenant, report, period) = ($1, $2, $3) ORDER BY edition DESC LIMIT 1;

-- name: last_sent
-- The newest edition that a receiver has got, before one.
SELECT e.* FROM deliveries d JOIN report_editions e USING (tenant, report, period, edition)
WHERE (d.tenant, d.report, d.period, d.receiver) = ($1, $2, $3, $4) AND d.edition < $5
    AND d.state IN ('sent', 'in_doubt')
ORDER BY d.edition DESC LIMIT 1;

-- name: send_again
-- Send the newest edition to all of its receivers once more.
UPDATE deliveries d SET state = 'waiting', next_at = $4, attempts = 0, error = ''
WHERE (tenant, report, period) = ($1, $2, $3)
    AND edition = (SELECT max(edition) FROM report_editions e WHERE (e.tenant, e.report, e.period) = ($1, $2, $3))
    AND state <> 'sending';

-- name: of_period
-- What became of the deliveries of a period.
SELECT * FROM deliveries WHERE (tenant, report, period) = ($1, $2, $3) ORDER BY edition, receiver;

-- name: unsent
-- As of $1: deliveries of the last day that failed or are in doubt, and those that have waited for over an hour
-- ('overdue').
-- Served by deliveries_unsent.
SELECT tenant, way, CASE WHEN state IN ('failed', 'in_doubt') THEN state ELSE 'overdue' END AS state,
       count(*) AS deliveries
FROM deliveries
WHERE (state IN ('failed', 'in_doubt') AND made_at > $1::timestamptz - interval '1 day')
    OR (state IN ('waiting', 'sending') AND made_at < $1::timestamptz - interval '1 hour')
GROUP BY 1, 2, 3;

-- name: open_calls_of
-- Calls that began in a window and still go on. Served by calls_open.
SELECT count(*) FROM calls
WHERE outcome = 'open' AND tenant = $1 AND started_at >= $2::timestamptz AND started_at < $3::timestamptz;

-- name: projected
-- Whether everything that was journalled a moment ago is in the calls.
SELECT NOT EXISTS (SELECT FROM pending WHERE journalled_at < now() - interval '5 seconds');

-- name: unlock
-- Somebody else may send.
SELECT pg_advisory_unlock(hashtext('callkpi.courier'));
