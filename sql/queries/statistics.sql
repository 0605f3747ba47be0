-- name: fate_rows
-- What became of the missed calls of spans of time (edges $2, slots $3), by queue, line and source; what nobody settled
-- before $4 is written off. Served by missed_by_time.
SELECT ($3::int[])[width_bucket(started_at, $2::timestamptz[])] AS slot, queue, line, source,
    called_back_at IS NOT NULL AS called_back, count(*) AS calls,
    CASE WHEN fate IN ('waiting', 'called_back') AND started_at < $4::timestamptz THEN 'written_off' ELSE fate END AS fate
FROM missed_calls
WHERE tenant = $1 AND started_at >= ($2::timestamptz[])[1]
    AND started_at < ($2::timestamptz[])[cardinality($2::timestamptz[])] AND outcome <> 'callback_requested'
GROUP BY 1, 2, 3, 4, 5, 7;
