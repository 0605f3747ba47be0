-- name: lock_shared
-- Nobody begins or fills days while a batch is added to them.
SELECT pg_advisory_xact_lock_shared(hashtext('callkpi.days'));

-- name: lock
-- Wait until those who add have committed, and keep others from beginning.
SELECT pg_advisory_xact_lock(hashtext('callkpi.days'));

-- name: spans
-- What the days of each tenant are days of, since which day they are complete, and before which one they are summed up.
SELECT tenant, zone, fields, since, months_until FROM day_spans;

-- name: begin
-- Begin the days of a tenant: complete from the beginning where there is no call yet, else from the first day that has
-- none. Served by calls_by_time.
INSERT INTO day_spans (tenant, zone, fields, since)
SELECT $1, $2, $3::text[], coalesce(
    (SELECT greatest(max(started_at) AT TIME ZONE $2, now() AT TIME ZONE $2)::date + 3 FROM calls WHERE tenant = $1
     HAVING count(*) > 0), '-infinity')
ON CONFLICT DO NOTHING;

-- name: forget
-- Forget the days of a tenant whose zone or fields are others now.
WITH gone AS (DELETE FROM day_rollups WHERE tenant = $1), months_gone AS (DELETE FROM month_rollups WHERE tenant = $1)
DELETE FROM day_spans WHERE tenant = $1;

-- name: add
-- Add differences to the days, in key order. The longest wait only rises here; see lower_longest_wait. Returns the rows
-- that count nothing any more.
WITH added AS (
INSERT INTO day_rollups AS r (
    tenant, field, grain, day, source, value, queue, agent, line, direction, outcome,
    contacts, offered, queued, rung, answered, talked, handled, missed, made, reached, not_reached, within_sl,
    abandoned_within, ring_no_answer, transferred, waits, wait_ms, waits_answered, wait_answered_ms, talks, talk_ms,
    holds, hold_ms, hold_in_talk_ms, wraps, wrap_ms,
    longest_wait_ms
)
SELECT
    tenant, field, grain, day, source, value, queue, agent, line, direction, outcome,
    coalesce(contacts, 0), coalesce(offered, 0), coalesce(queued, 0), coalesce(rung, 0), coalesce(answered, 0),
    coalesce(talked, 0), coalesce(handled, 0), coalesce(missed, 0), coalesce(made, 0), coalesce(reached, 0),
    coalesce(not_reached, 0), coalesce(within_sl, 0), coalesce(abandoned_within, 0), coalesce(ring_no_answer, 0),
    coalesce(transferred, 0), coalesce(waits, 0), coalesce(wait_ms, 0), coalesce(waits_answered, 0),
    coalesce(wait_answered_ms, 0), coalesce(talks, 0), coalesce(talk_ms, 0), coalesce(holds, 0),
    coalesce(hold_ms, 0), coalesce(hold_in_talk_ms, 0), coalesce(wraps, 0), coalesce(wrap_ms, 0),
    coalesce(longest_wait_ms, 0)
FROM jsonb_populate_recordset(NULL::day_rollups, $1::jsonb)
ON CONFLICT (tenant, field, grain, day, source, value, queue, agent, line, direction, outcome) DO UPDATE SET
    contacts = r.contacts + excluded.contacts, offered = r.offered + excluded.offered,
    queued = r.queued + excluded.queued, rung = r.rung + excluded.rung, answered = r.answered + excluded.answered,
    talked = r.talked + excluded.talked, handled = r.handled + excluded.handled,
    missed = r.missed + excluded.missed, made = r.made + excluded.made, reached = r.reached + excluded.reached,
    not_reached = r.not_reached + excluded.not_reached, within_sl = r.within_sl + excluded.within_sl,
    abandoned_within = r.abandoned_within + excluded.abandoned_within,
    ring_no_answer = r.ring_no_answer + excluded.ring_no_answer, transferred = r.transferred + excluded.transferred,
    waits = r.waits + excluded.waits, wait_ms = r.wait_ms + excluded.wait_ms,
    waits_answered = r.waits_answered + excluded.waits_answered,
    wait_answered_ms = r.wait_answered_ms + excluded.wait_answered_ms, talks = r.talks + excluded.talks,
    talk_ms = r.talk_ms + excluded.talk_ms, holds = r.holds + excluded.holds,
    hold_ms = r.hold_ms + excluded.hold_ms, hold_in_talk_ms = r.hold_in_talk_ms + excluded.hold_in_talk_ms,
    wraps = r.wraps + excluded.wraps, wrap_ms = r.wrap_ms + excluded.wrap_ms,
    longest_wait_ms = greatest(r.longest_wait_ms, excluded.longest_wait_ms)
RETURNING r.ctid AS place, r.tenant, r.field, r.grain, r.day, r.source, r.value, r.queue, r.agent, r.line, r.direction,
    r.outcome, r.contacts
)
SELECT place, tenant, field, grain, day, source, value, queue, agent, line, direction, outcome FROM added
WHERE contacts = 0;

-- name: remove_emptied
-- Remove days that this transaction has just emptied, and so holds: nobody is waited for.
DELETE FROM day_rollups WHERE ctid = ANY ($1::tid[]);

-- name: lower_longest_wait
-- Find the longest wait of a day's row again after a correction took the one that was.
UPDATE day_rollups r SET longest_wait_ms = coalesce((
    SELECT max(f.longest_wait_ms) FROM day_spans s
    CROSS JOIN LATERAL call_facts($1, $4::date::timestamp AT TIME ZONE s.zone - interval '1 day',
                                  $4::date::timestamp AT TIME ZONE s.zone + interval '2 days') AS f
    WHERE s.tenant = $1 AND f.grain = $3 AND (f.at AT TIME ZONE s.zone)::date = $4::date AND f.source = $5
        AND ($2 = '' OR field_value($2, f.told, f.crm) = $6)
        AND (f.queue, f.agent, f.line, f.direction, f.outcome) = ($7, $8, $9, $10, $11)
), 0)
WHERE (tenant, field, grain, day, source, value, queue, agent, line, direction, outcome) = ($1, $2, $3, $4::date, $5, $6, $7, $8, $9, $10, $11);

-- name: last_before
-- The last call before a time, the first one of all, and the first quarter of an hour, which may be older than the calls
-- that are kept. Served by calls_by_time and the key of rollups.
SELECT (SELECT max(started_at) FROM calls WHERE tenant = $1 AND started_at < $2::timestamptz) AS last_call,
       (SELECT min(started_at) FROM calls WHERE tenant = $1) AS first_call,
       (SELECT at FROM rollups WHERE tenant = $1 AND grain = 'call' AND contacts <> 0 ORDER BY at LIMIT 1) AS first_rollup;

-- name: clear
-- Rows of days that are to be filled. Served by the primary key, a field and a grain at a time.
DELETE FROM day_rollups r USING day_spans s
WHERE s.tenant = $1 AND r.tenant = $1 AND r.field = ANY (array_prepend('', s.fields))
    AND r.grain = ANY ('{call, entry, handle}') AND r.day >= $2::date AND r.day < $3::date;

-- name: fill
-- Fill days from the calls.
INSERT INTO day_rollups (tenant, field, grain, day, source, value, queue, agent, line, direction, outcome,
    contacts, offered, queued, rung, answered, talked, handled, missed, made, reached, not_reached, within_sl,
    abandoned_within, ring_no_answer, transferred, waits, wait_ms, waits_answered, wait_answered_ms, talks, talk_ms,
    holds, hold_ms, hold_in_talk_ms, wraps, wrap_ms,
    longest_wait_ms)
SELECT $1, * FROM day_sums($1, $2::date, $3::date);

-- name: complete_since
-- The days of a tenant are complete since an earlier day.
UPDATE day_spans SET since = $2::date WHERE tenant = $1;

-- name: differences
-- Rows of days that are not the sum over the calls, for the doctor.
SELECT r.* FROM (
    (SELECT d.* FROM day_rollups d JOIN day_spans s USING (tenant)
     WHERE d.tenant = $1 AND d.day >= $2::date AND d.day < $3::date AND d.day >= s.since AND d.contacts <> 0
     EXCEPT SELECT $1, * FROM day_sums($1, $2::date, $3::date))
    UNION ALL
    (SELECT $1, d.* FROM day_sums($1, $2::date, $3::date) d JOIN day_spans s ON s.tenant = $1 AND d.day >= s.since
     EXCEPT SELECT * FROM day_rollups WHERE tenant = $1 AND day >= $2::date AND day < $3::date)
) AS r LIMIT 20;

-- name: months
-- The months in which a tenant has calls or days, for the doctor.
SELECT DISTINCT tenant, date_trunc('month', day)::date AS first, (date_trunc('month', day) + interval '1 month')::date AS after
FROM (
    SELECT tenant, day FROM day_rollups WHERE field = '' AND grain = 'call'
    UNION ALL SELECT tenant, started_at::date + n FROM calls, generate_series(-1, 2) AS n
) AS days
ORDER BY 1, 2;

-- name: sums
-- What the calls that are kept give to one day that is complete. Served by calls_by_time.
SELECT d.* FROM day_spans s CROSS JOIN LATERAL day_sums($1, $2::date, $2::date + 1) AS d
WHERE s.tenant = $1 AND s.since <= $2::date;

-- name: add_to_months
-- Add differences ($4), and the days [$2, $3) of a tenant, to the sums of months, in key order. The longest wait only
-- rises here; see lower_months_longest_wait. Returns the rows that count nothing any more.
WITH added AS (
INSERT INTO month_rollups AS r
SELECT * FROM (
    SELECT * FROM month_sums($1, $2::date, $3::date)
    UNION ALL SELECT * FROM jsonb_populate_recordset(NULL::month_rollups, $4::jsonb)
) AS come
ORDER BY tenant, field, grain, month, source, value, queue, agent, direction, outcome
ON CONFLICT (tenant, field, grain, month, source, value, queue, agent, direction, outcome) DO UPDATE SET
    contacts = r.contacts + excluded.contacts, offered = r.offered + excluded.offered,
    queued = r.queued + excluded.queued, rung = r.rung + excluded.rung, answered = r.answered + excluded.answered,
    talked = r.talked + excluded.talked, handled = r.handled + excluded.handled, missed = r.missed + excluded.missed,
    made = r.made + excluded.made, reached = r.reached + excluded.reached,
    not_reached = r.not_reached + excluded.not_reached, within_sl = r.within_sl + excluded.within_sl,
    abandoned_within = r.abandoned_within + excluded.abandoned_within,
    ring_no_answer = r.ring_no_answer + excluded.ring_no_answer, transferred = r.transferred + excluded.transferred,
    waits = r.waits + excluded.waits, wait_ms = r.wait_ms + excluded.wait_ms,
    waits_answered = r.waits_answered + excluded.waits_answered,
    wait_answered_ms = r.wait_answered_ms + excluded.wait_answered_ms, talks = r.talks + excluded.talks,
    talk_ms = r.talk_ms + excluded.talk_ms, holds = r.holds + excluded.holds, hold_ms = r.hold_ms + excluded.hold_ms,
    hold_in_talk_ms = r.hold_in_talk_ms + excluded.hold_in_talk_ms, wraps = r.wraps + excluded.wraps,
    wrap_ms = r.wrap_ms + excluded.wrap_ms, longest_wait_ms = greatest(r.longest_wait_ms, excluded.longest_wait_ms)
RETURNING r.ctid AS place, r.tenant, r.field, r.grain, r.month, r.source, r.value, r.queue, r.agent, r.direction,
    r.outcome, r.contacts
)
SELECT place, tenant, field, grain, month, source, value, queue, agent, direction, outcome FROM added
WHERE contacts = 0;

-- name: remove_emptied_months
-- Remove months that this transaction has just emptied, and so holds: nobody is waited for.
DELETE FROM month_rollups WHERE ctid = ANY ($1::tid[]);

-- name: lower_months_longest_wait
-- Find the longest wait of a month's row again after a correction took the one that was.
UPDATE month_rollups r SET longest_wait_ms = coalesce((
    SELECT max(d.longest_wait_ms) FROM day_rollups d JOIN day_spans s USING (tenant)
    WHERE d.tenant = $1 AND d.field = $2 AND d.grain = $3 AND d.day >= $4::date
        AND d.day < least(($4::date + interval '1 month')::date, s.months_until)
        AND (d.source, d.value, d.queue, d.agent, d.direction, d.outcome) = ($5, $6, $7, $8, $9, $10)
), 0)
WHERE (tenant, field, grain, month, source, value, queue, agent, direction, outcome) = ($1, $2, $3, $4::date, $5, $6, $7, $8, $9, $10);

-- name: next_unsummed
-- The first day of a tenant that the sums of its months lack. Served by the primary key.
SELECT min(d.day) FROM day_spans s JOIN day_rollups d ON d.tenant = s.tenant AND d.field = '' AND d.grain = 'call'
WHERE s.tenant = $1 AND d.day >= s.months_until AND d.day >= s.since;

-- name: months_until
-- The sums of months hold all days before another one.
UPDATE day_spans SET months_until = $2::date WHERE tenant = $1;

-- name: forget_months
-- Forget the sums of months from one on: they are summed up again.
WITH gone AS (DELETE FROM month_rollups WHERE tenant = $1 AND month >= date_trunc('month', $2::date))
UPDATE day_spans SET months_until = least(months_until, date_trunc('month', $2::date)::date) WHERE tenant = $1;

-- name: month_differences
-- Rows of months that are not the sum over their days, for the doctor.
SELECT r.* FROM (
    (SELECT * FROM month_rollups WHERE tenant = $1 AND contacts <> 0
     EXCEPT SELECT m.* FROM day_spans s CROSS JOIN LATERAL month_sums($1, s.since, s.months_until) AS m WHERE s.tenant = $1)
    UNION ALL
    (SELECT m.* FROM day_spans s CROSS JOIN LATERAL month_sums($1, s.since, s.months_until) AS m
     WHERE s.tenant = $1 AND m.contacts <> 0
     EXCEPT SELECT * FROM month_rollups WHERE tenant = $1)
) AS r LIMIT 20;
