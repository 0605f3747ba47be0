-- Exact sums of spans of time, by some of the dimensions ($3) and the outcome, each from one kind of sums. $1 tenant, $2
-- grain. A moment is of the slot in $5 that belongs to the last edge in $4 not after it; $6 and $7 are the begins and
-- ends of the time that has a slot. $8 to $13 let through some queues, directions, outcomes, lines, sources and values
-- of the custom field $14 ('' for none). LATERAL with OFFSET 0 keeps the planner, which takes each span for a good part
-- of all time, from reading all of it.

-- name: plan_each
-- Plan the queries of this transaction for their own parameters: which dimensions are asked decides what is grouped. The
-- planner takes the groups for many more than they are, and would sort a year on disk.
SET LOCAL plan_cache_mode = force_custom_plan;
SET LOCAL work_mem = '64MB';

-- name: of_months
-- Of whole months. They are not told apart by line. Served by the primary key.
SELECT ($5::int[])[width_bucket(r.month, $4::date[])] AS slot,
    CASE WHEN 'queue' = ANY ($3::text[]) THEN r.queue ELSE '' END AS queue,
    CASE WHEN 'agent' = ANY ($3::text[]) THEN r.agent ELSE '' END AS agent,
    CASE WHEN 'direction' = ANY ($3::text[]) THEN r.direction ELSE '' END AS direction,
    CASE WHEN 'source' = ANY ($3::text[]) THEN r.source ELSE '' END AS source,
    CASE WHEN 'value' = ANY ($3::text[]) THEN r.value ELSE '' END AS value,
    '' AS line,
    r.outcome,
    sum(r.contacts)::bigint AS contacts, sum(r.offered)::bigint AS offered, sum(r.queued)::bigint AS queued,
    sum(r.rung)::bigint AS rung, sum(r.answered)::bigint AS answered, sum(r.talked)::bigint AS talked,
    sum(r.handled)::bigint AS handled, sum(r.missed)::bigint AS missed, sum(r.made)::bigint AS made,
    sum(r.reached)::bigint AS reached, sum(r.not_reached)::bigint AS not_reached,
    sum(r.within_sl)::bigint AS within_sl, sum(r.abandoned_within)::bigint AS abandoned_within,
    sum(r.ring_no_answer)::bigint AS ring_no_answer, sum(r.transferred)::bigint AS transferred,
    sum(r.waits)::bigint AS waits, sum(r.wait_ms)::bigint AS wait_ms,
    sum(r.waits_answered)::bigint AS waits_answered, sum(r.wait_answered_ms)::bigint AS wait_answered_ms,
    sum(r.talks)::bigint AS talks, sum(r.talk_ms)::bigint AS talk_ms, sum(r.holds)::bigint AS holds,
    sum(r.hold_ms)::bigint AS hold_ms, sum(r.hold_in_talk_ms)::bigint AS hold_in_talk_ms,
    sum(r.wraps)::bigint AS wraps, sum(r.wrap_ms)::bigint AS wrap_ms,
    max(r.longest_wait_ms)::bigint AS longest_wait_ms
FROM unnest($6::date[], $7::date[]) AS s (since, until)
CROSS JOIN LATERAL (
    SELECT * FROM month_rollups k
    WHERE k.tenant = $1 AND k.field = $14 AND k.grain = $2 AND k.month >= s.since AND k.month < s.until OFFSET 0
) AS r
WHERE ($8::text[] IS NULL OR r.queue = ANY ($8)) AND ($9::text[] IS NULL OR r.direction = ANY ($9))
    AND ($10::text[] IS NULL OR r.outcome = ANY ($10)) AND $11::text[] IS NULL
    AND ($12::text[] IS NULL OR r.source = ANY ($12)) AND ($13::text[] IS NULL OR r.value = ANY ($13))
GROUP BY 1, 2, 3, 4, 5, 6, r.outcome;

-- name: of_days
-- Of whole local days. Served by the primary key.
SELECT ($5::int[])[width_bucket(r.day, $4::date[])] AS slot,
    CASE WHEN 'queue' = ANY ($3::text[]) THEN r.queue ELSE '' END AS queue,
    CASE WHEN 'agent' = ANY ($3::text[]) THEN r.agent ELSE '' END AS agent,
    CASE WHEN 'line' = ANY ($3::text[]) THEN r.line ELSE '' END AS line,
    CASE WHEN 'direction' = ANY ($3::text[]) THEN r.direction ELSE '' END AS direction,
    CASE WHEN 'source' = ANY ($3::text[]) THEN r.source ELSE '' END AS source,
    CASE WHEN 'value' = ANY ($3::text[]) THEN r.value ELSE '' END AS value,
    r.outcome,
    sum(r.contacts)::bigint AS contacts, sum(r.offered)::bigint AS offered, sum(r.queued)::bigint AS queued,
    sum(r.rung)::bigint AS rung, sum(r.answered)::bigint AS answered, sum(r.talked)::bigint AS talked,
    sum(r.handled)::bigint AS handled, sum(r.missed)::bigint AS missed, sum(r.made)::bigint AS made,
    sum(r.reached)::bigint AS reached, sum(r.not_reached)::bigint AS not_reached,
    sum(r.within_sl)::bigint AS within_sl, sum(r.abandoned_within)::bigint AS abandoned_within,
    sum(r.ring_no_answer)::bigint AS ring_no_answer, sum(r.transferred)::bigint AS transferred,
    sum(r.waits)::bigint AS waits, sum(r.wait_ms)::bigint AS wait_ms,
    sum(r.waits_answered)::bigint AS waits_answered, sum(r.wait_answered_ms)::bigint AS wait_answered_ms,
    sum(r.talks)::bigint AS talks, sum(r.talk_ms)::bigint AS talk_ms, sum(r.holds)::bigint AS holds,
    sum(r.hold_ms)::bigint AS hold_ms, sum(r.hold_in_talk_ms)::bigint AS hold_in_talk_ms,
    sum(r.wraps)::bigint AS wraps, sum(r.wrap_ms)::bigint AS wrap_ms,
    max(r.longest_wait_ms)::bigint AS longest_wait_ms
FROM unnest($6::date[], $7::date[]) AS s (since, until)
CROSS JOIN LATERAL (
    SELECT * FROM day_rollups k
    WHERE k.tenant = $1 AND k.field = $14 AND k.grain = $2 AND k.day >= s.since AND k.day < s.until OFFSET 0
) AS r
WHERE ($8::text[] IS NULL OR r.queue = ANY ($8)) AND ($9::text[] IS NULL OR r.direction = ANY ($9))
    AND ($10::text[] IS NULL OR r.outcome = ANY ($10)) AND ($11::text[] IS NULL OR r.line = ANY ($11))
    AND ($12::text[] IS NULL OR r.source = ANY ($12)) AND ($13::text[] IS NULL OR r.value = ANY ($13))
GROUP BY 1, 2, 3, 4, 5, 6, 7, r.outcome;

-- name: of_quarters
-- Of whole quarters of an hour, which know neither source nor fields. Served by the primary key.
SELECT ($5::int[])[width_bucket(r.at, $4::timestamptz[])] AS slot,
    CASE WHEN 'queue' = ANY ($3::text[]) THEN r.queue ELSE '' END AS queue,
    CASE WHEN 'agent' = ANY ($3::text[]) THEN r.agent ELSE '' END AS agent,
    CASE WHEN 'line' = ANY ($3::text[]) THEN r.line ELSE '' END AS line,
    CASE WHEN 'direction' = ANY ($3::text[]) THEN r.direction ELSE '' END AS direction,
    '' AS source, '' AS value,
    r.outcome,
    sum(r.contacts)::bigint AS contacts, sum(r.offered)::bigint AS offered, sum(r.queued)::bigint AS queued,
    sum(r.rung)::bigint AS rung, sum(r.answered)::bigint AS answered, sum(r.talked)::bigint AS talked,
    sum(r.handled)::bigint AS handled, sum(r.missed)::bigint AS missed, sum(r.made)::bigint AS made,
    sum(r.reached)::bigint AS reached, sum(r.not_reached)::bigint AS not_reached,
    sum(r.within_sl)::bigint AS within_sl, sum(r.abandoned_within)::bigint AS abandoned_within,
    sum(r.ring_no_answer)::bigint AS ring_no_answer, sum(r.transferred)::bigint AS transferred,
    sum(r.waits)::bigint AS waits, sum(r.wait_ms)::bigint AS wait_ms,
    sum(r.waits_answered)::bigint AS waits_answered, sum(r.wait_answered_ms)::bigint AS wait_answered_ms,
    sum(r.talks)::bigint AS talks, sum(r.talk_ms)::bigint AS talk_ms, sum(r.holds)::bigint AS holds,
    sum(r.hold_ms)::bigint AS hold_ms, sum(r.hold_in_talk_ms)::bigint AS hold_in_talk_ms,
    sum(r.wraps)::bigint AS wraps, sum(r.wrap_ms)::bigint AS wrap_ms,
    max(r.longest_wait_ms)::bigint AS longest_wait_ms
FROM unnest($6::timestamptz[], $7::timestamptz[]) AS s (since, until)
CROSS JOIN LATERAL (
    SELECT * FROM rollups k WHERE k.tenant = $1 AND k.grain = $2 AND k.at >= s.since AND k.at < s.until OFFSET 0
) AS r
WHERE ($8::text[] IS NULL OR r.queue = ANY ($8)) AND ($9::text[] IS NULL OR r.direction = ANY ($9))
    AND ($10::text[] IS NULL OR r.outcome = ANY ($10)) AND ($11::text[] IS NULL OR r.line = ANY ($11))
    AND $12::text[] IS NULL AND $13::text[] IS NULL AND $14 = ''
GROUP BY 1, 2, 3, 4, 5, r.outcome;

-- name: of_calls
-- Of any time, from the calls themselves. Served by calls_by_time.
SELECT ($5::int[])[width_bucket(r.at, $4::timestamptz[])] AS slot,
    CASE WHEN 'queue' = ANY ($3::text[]) THEN r.queue ELSE '' END AS queue,
    CASE WHEN 'agent' = ANY ($3::text[]) THEN r.agent ELSE '' END AS agent,
    CASE WHEN 'line' = ANY ($3::text[]) THEN r.line ELSE '' END AS line,
    CASE WHEN 'direction' = ANY ($3::text[]) THEN r.direction ELSE '' END AS direction,
    CASE WHEN 'source' = ANY ($3::text[]) THEN r.source ELSE '' END AS source,
    CASE WHEN 'value' = ANY ($3::text[]) THEN field_value($14, r.told, r.crm) ELSE '' END AS value,
    r.outcome,
    sum(r.contacts)::bigint AS contacts, sum(r.offered)::bigint AS offered, sum(r.queued)::bigint AS queued,
    sum(r.rung)::bigint AS rung, sum(r.answered)::bigint AS answered, sum(r.talked)::bigint AS talked,
    sum(r.handled)::bigint AS handled, sum(r.missed)::bigint AS missed, sum(r.made)::bigint AS made,
    sum(r.reached)::bigint AS reached, sum(r.not_reached)::bigint AS not_reached,
    sum(r.within_sl)::bigint AS within_sl, sum(r.abandoned_within)::bigint AS abandoned_within,
    sum(r.ring_no_answer)::bigint AS ring_no_answer, sum(r.transferred)::bigint AS transferred,
    sum(r.waits)::bigint AS waits, sum(r.wait_ms)::bigint AS wait_ms,
    sum(r.waits_answered)::bigint AS waits_answered, sum(r.wait_answered_ms)::bigint AS wait_answered_ms,
    sum(r.talks)::bigint AS talks, sum(r.talk_ms)::bigint AS talk_ms, sum(r.holds)::bigint AS holds,
    sum(r.hold_ms)::bigint AS hold_ms, sum(r.hold_in_talk_ms)::bigint AS hold_in_talk_ms,
    sum(r.wraps)::bigint AS wraps, sum(r.wrap_ms)::bigint AS wrap_ms,
    max(r.longest_wait_ms)::bigint AS longest_wait_ms
FROM unnest($6::timestamptz[], $7::timestamptz[]) AS s (since, until)
CROSS JOIN LATERAL call_facts($1, s.since, s.until) AS r
WHERE r.grain = $2
    AND ($8::text[] IS NULL OR r.queue = ANY ($8)) AND ($9::text[] IS NULL OR r.direction = ANY ($9))
    AND ($10::text[] IS NULL OR r.outcome = ANY ($10)) AND ($11::text[] IS NULL OR r.line = ANY ($11))
    AND ($12::text[] IS NULL OR r.source = ANY ($12)) AND ($13::text[] IS NULL OR field_value($14, r.told, r.crm) = ANY ($13))
GROUP BY 1, 2, 3, 4, 5, 6, 7, r.outcome;

-- name: fates
-- What became of the missed calls of spans of time, by some of queue, line and source ($2); edges $3, slots $4, begins $5
-- and ends $6 as above. What nobody settled before $7 is written off. Found in missed_by_time alone.
SELECT ($4::int[])[width_bucket(m.started_at, $3::timestamptz[])] AS slot,
    CASE WHEN 'queue' = ANY ($2::text[]) THEN m.queue ELSE '' END AS queue,
    CASE WHEN 'line' = ANY ($2::text[]) THEN m.line ELSE '' END AS line,
    CASE WHEN 'source' = ANY ($2::text[]) THEN m.source ELSE '' END AS source,
    m.called_back_at IS NOT NULL AS called_back, count(*) AS calls,
    fate_at(m.fate, m.started_at, $7::timestamptz) AS fate
FROM unnest($5::timestamptz[], $6::timestamptz[]) AS s (since, until)
CROSS JOIN LATERAL (
    SELECT queue, line, source, fate, called_back_at, started_at FROM missed_calls k
    WHERE k.tenant = $1 AND k.started_at >= s.since AND k.started_at < s.until AND k.outcome <> 'callback_requested'
    OFFSET 0
) AS m
GROUP BY 1, 2, 3, 4, 5, 7;
