-- name: knows
-- The newest callkpi that has worked here knows this migration.
INSERT INTO projection AS p (knows) VALUES ($1)
ON CONFLICT (only_row) DO UPDATE SET knows = excluded.knows WHERE p.knows COLLATE "C" < excluded.knows;

-- name: state
-- What speaks against the figures as they are.
SELECT older_since, older_until, rebuild_begun_at FROM projection;

-- name: rebuild_begins
-- Figures are incomplete until it ends.
UPDATE projection SET rebuild_begun_at = now();

-- name: rebuild_ends
-- All figures are of this version. An older one that computed calls meanwhile is not forgotten.
UPDATE projection SET
    rebuild_begun_at = NULL,
    older_since = CASE WHEN older_until > rebuild_begun_at THEN rebuild_begun_at END,
    older_until = CASE WHEN older_until > rebuild_begun_at THEN older_until END;

-- name: try_beside
-- Whoever projects holds it, so that nobody rebuilds; until the session ends.
SELECT pg_try_advisory_lock_shared(hashtext('callkpi.rebuild'));

-- name: leave
-- Projecting is over.
SELECT pg_advisory_unlock_shared(hashtext('callkpi.rebuild'));

-- name: try_alone
-- Whoever rebuilds holds it, so that nobody projects; until the session ends.
SELECT pg_try_advisory_lock(hashtext('callkpi.rebuild'));

-- name: alive
-- Whether the session that holds a lock still answers.
SELECT 1;
