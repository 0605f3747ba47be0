-- name: plan_each
-- Plan the queries of this transaction for their own parameters: which dimensions are asked decides what is grouped. The
-- planner takes the groups for many more than they are, and would sort a year on disk.
SET LOCAL plan_cache_mode = force_custom_plan;
SET LOCAL work_mem = '64MB';

-- name: figures_rows
-- Exact sums of spans of time, by some of the dimensions ($4) and the outcome. Spans of whole days come from
-- day_rollups (edges $12, slots $13), of whole quarters of an hour from rollups ($14, $15), the rest from the calls
-- ($16, $17). A moment is of the slot that belongs to the last edge not after it; slot 0 is none. $3 is a custom field
-- or ''. Served by the primary keys and by calls_by_time.
SELECT slot,
    CASE WHEN 'queue' = ANY ($4::text[]) THEN queue ELSE '' END AS queue,
    CASE WHEN 'agent' = ANY ($4::text[]) THEN agent ELSE '' END AS agent,
    CASE WHEN 'line' = ANY ($4::text[]) THEN line ELSE '' END AS line,
    CASE WHEN 'direction' = ANY ($4::text[]) THEN direction ELSE '' END AS direction,
    CASE WHEN 'source' = ANY ($4::text[]) THEN source ELSE '' END AS source,
    CASE WHEN 'value' = ANY ($4::text[]) THEN value ELSE '' END AS value,
    outcome,
    sum(contacts)::bigint AS contacts, sum(offered)::bigint AS offered, sum(queued)::bigint AS queued,
    sum(rung)::bigint AS rung, sum(answered)::bigint AS answered, sum(talked)::bigint AS talked,
    sum(handled)::bigint AS handled, sum(missed)::bigint AS missed, sum(made)::bigint AS made,
    sum(reached)::bigint AS reached, sum(not_reached)::bigint AS not_reached, sum(within_sl)::bigint AS within_sl,
    sum(abandoned_within)::bigint AS abandoned_within, sum(ring_no_answer)::bigint AS ring_no_answer,
    sum(transferred)::bigint AS transferred, sum(waits)::bigint AS waits, sum(wait_ms)::bigint AS wait_ms,
    sum(waits_answered)::bigint AS waits_answered, sum(wait_answered_ms)::bigint AS wait_answered_ms,
    sum(talks)::bigint AS talks, sum(talk_ms)::bigint AS talk_ms, sum(holds)::bigint AS holds,
    sum(hold_ms)::bigint AS hold_ms, sum(hold_in_talk_ms)::bigint AS hold_in_talk_ms, sum(wraps)::bigint AS wraps,
    sum(wrap_ms)::bigint AS wrap_ms,
    max(longest_wait_ms)::bigint AS longest_wait_ms
FROM (
    SELECT ($13::int[])[width_bucket(r.day, $12::date[])] AS slot, r.queue, r.agent, r.line, r.direction, r.outcome,
        r.source, r.value,
        r.contacts, r.offered, r.queued, r.rung, r.answered, r.talked, r.handled, r.missed, r.made, r.reached,
        r.not_reached, r.within_sl, r.abandoned_within, r.ring_no_answer, r.transferred, r.waits, r.wait_ms,
        r.waits_answered, r.wait_answered_ms, r.talks, r.talk_ms, r.holds, r.hold_ms, r.hold_in_talk_ms, r.wraps,
        r.wrap_ms, r.longest_wait_ms
    FROM day_rollups r
    WHERE r.tenant = $1 AND r.field = $3 AND r.grain = $2
        AND r.day >= ($12::date[])[1] AND r.day < ($12::date[])[cardinality($12::date[])]
    UNION ALL
    SELECT ($15::int[])[width_bucket(r.at, $14::timestamptz[])], r.queue, r.agent, r.line, r.direction, r.outcome, '', '',
        r.contacts, r.offered, r.queued, r.rung, r.answered, r.talked, r.handled, r.missed, r.made, r.reached,
        r.not_reached, r.within_sl, r.abandoned_within, r.ring_no_answer, r.transferred, r.waits, r.wait_ms,
        r.waits_answered, r.wait_answered_ms, r.talks, r.talk_ms, r.holds, r.hold_ms, r.hold_in_talk_ms, r.wraps,
        r.wrap_ms, r.longest_wait_ms
    FROM rollups r
    WHERE r.tenant = $1 AND r.grain = $2
        AND r.at >= ($14::timestamptz[])[1] AND r.at < ($14::timestamptz[])[cardinality($14::timestamptz[])]
    UNION ALL
    SELECT ($17::int[])[width_bucket(r.at, $16::timestamptz[])], r.queue, r.agent, r.line, r.direction, r.outcome,
        r.source, CASE WHEN $3 = '' THEN '' ELSE field_value($3, r.told, r.crm) END,
        r.contacts, r.offered, r.queued, r.rung, r.answered, r.talked, r.handled, r.missed, r.made, r.reached,
        r.not_reached, r.within_sl, r.abandoned_within, r.ring_no_answer, r.transferred, r.waits, r.wait_ms,
        r.waits_answered, r.wait_answered_ms, r.talks, r.talk_ms, r.holds, r.hold_ms, r.hold_in_talk_ms, r.wraps,
        r.wrap_ms, r.longest_wait_ms
    FROM call_facts($1, ($16::timestamptz[])[1], ($16::timestamptz[])[cardinality($16::timestamptz[])]) AS r
    WHERE r.grain = $2
) AS r
WHERE slot > 0
    AND ($5::text[] IS NULL OR queue = ANY ($5)) AND ($6::text[] IS NULL OR agent = ANY ($6))
    AND ($7::text[] IS NULL OR line = ANY ($7)) AND ($8::text[] IS NULL OR direction = ANY ($8))
    AND ($9::text[] IS NULL OR outcome = ANY ($9)) AND ($10::text[] IS NULL OR source = ANY ($10))
    AND ($11::text[] IS NULL OR value = ANY ($11))
GROUP BY 1, 2, 3, 4, 5, 6, 7, outcome;

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
