-- name: horizons
-- How far back things are kept; *settled* once everybody has heard of it.
SELECT what, before, set_at < now() - $1::interval AS settled FROM horizons;

-- name: journal_horizon
-- Since when events are kept; NULL: from the beginning.
SELECT before FROM horizons WHERE what = 'journal';

-- name: set_horizon
-- Move a horizon forward, never back.
INSERT INTO horizons AS h (what, before) VALUES ($1, $2)
ON CONFLICT (what) DO UPDATE SET before = excluded.before, set_at = now() WHERE h.before < excluded.before;

-- name: behind
-- Whether events from before a time still wait to be projected.
SELECT EXISTS (SELECT FROM pending WHERE $1::timestamptz > ANY (first_at));

-- name: partitions
-- The months of a table, oldest first.
SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = $1::text::regclass ORDER BY 1;

-- name: drop_partition
-- Drop one month of a table.
SELECT drop_partition($1, $2);

-- name: forget_keys
-- Forget where calls were that are not kept, some at a time.
DELETE FROM call_keys WHERE (tenant, source, call_id) IN (
    SELECT tenant, source, call_id FROM call_keys WHERE last_at < $1::timestamptz LIMIT $2
);

-- name: forget_sides
-- Forget what each source told of calls that are not kept, some at a time.
DELETE FROM same_call_sides WHERE (tenant, source, call_id) IN (
    SELECT s.tenant, s.source, s.call_id FROM same_call_sides s
    WHERE s.started_at < $1::timestamptz
        AND NOT EXISTS (SELECT FROM call_keys k WHERE (k.tenant, k.source, k.call_id) = (s.tenant, s.source, s.call_id))
    LIMIT $2
);

-- name: forget_missed_numbers
-- A missed call that is not kept stays in the figures, without its customer.
UPDATE missed_calls SET customer = '' WHERE started_at < $1::timestamptz AND customer <> '';

-- name: forget_waits
-- Forget when callers waited whose calls are not kept.
DELETE FROM waits WHERE entered_at < $1::timestamptz;

-- name: forget_rejected
-- Drop payloads that could not be understood for so long.
DELETE FROM rejected WHERE received_at < $1::timestamptz;

-- name: forget_questions
-- Drop what a call asked that can't be folded again.
WITH legs_gone AS (
    DELETE FROM agent_legs WHERE end_ms < extract(epoch FROM $1::timestamptz) * 1000
)
DELETE FROM member_questions WHERE at < $1::timestamptz;

-- name: try_lock
-- One process at a time keeps the house.
SELECT pg_try_advisory_lock(hashtext('callkpi.janitor'));

-- name: clear_since
-- Forget what the journal that is kept folds into. Calls that began before it stay as they are.
WITH aside_gone AS (
    DELETE FROM set_aside
), gone AS (
    DELETE FROM call_keys WHERE first_at >= $1::timestamptz RETURNING tenant, source, call_id
), sides_gone AS (
    DELETE FROM same_call_sides s USING gone
    WHERE (s.tenant, s.source, s.call_id) = (gone.tenant, gone.source, gone.call_id)
), calls_gone AS (
    DELETE FROM calls c WHERE c.started_at >= $1::timestamptz - interval '3 days'
        AND NOT EXISTS (SELECT FROM call_keys k WHERE (k.tenant, k.source, k.call_id) = (c.tenant, c.source, c.call_id)
                        AND k.first_at < $1::timestamptz)
    RETURNING tenant, source, call_id
), waits_gone AS (
    DELETE FROM waits w USING calls_gone
    WHERE w.entered_at >= $1::timestamptz - interval '3 days'
        AND (w.tenant, w.source, w.call_id) = (calls_gone.tenant, calls_gone.source, calls_gone.call_id)
), missed_gone AS (
    DELETE FROM missed_calls m USING gone
    WHERE (m.tenant, m.source, m.call_id) = (gone.tenant, gone.source, gone.call_id)
), rollups_gone AS (
    DELETE FROM rollups WHERE at >= $1::timestamptz
), states_gone AS (
    DELETE FROM agent_states WHERE at >= $1::timestamptz
), agents_gone AS (
    DELETE FROM agent_rollups WHERE at >= $1::timestamptz
), questions_gone AS (
    DELETE FROM member_questions WHERE at >= $1::timestamptz
), legs_gone AS (
    DELETE FROM agent_legs l USING gone WHERE (l.tenant, l.source, l.call_id) = (gone.tenant, gone.source, gone.call_id)
), times_gone AS (
    DELETE FROM agent_times WHERE at >= $1::timestamptz
), unsettled AS (
    -- What went on at that moment is written anew from there on.
    UPDATE agent_horizon SET until = least(until, $1::timestamptz)
), changes_gone AS (
    DELETE FROM agent_pending
)
DELETE FROM pending;

-- name: facts_of_sealed
-- Facts of calls that began before a time and reach beyond it.
SELECT c.tenant, c.facts FROM calls c
JOIN call_keys k ON (k.tenant, k.source, k.call_id) = (c.tenant, c.source, c.call_id)
WHERE c.last_event_at >= $1::timestamptz AND k.first_at < $1::timestamptz
    AND c.started_at >= $1::timestamptz - interval '3 days';

-- name: unlock
-- The house is kept.
SELECT pg_advisory_unlock(hashtext('callkpi.janitor'));

-- name: may_forget_audit
-- The one transaction that may take something out of the audit.
SELECT set_config('callkpi.forgets_audit', 'yes', true);

-- name: forget_audit
-- Drop what was read and changed so long ago.
DELETE FROM audit WHERE at < $1::timestamptz;
