-- name: lock
-- One import at a time.
SELECT pg_advisory_xact_lock(hashtext('callkpi.rosters'));

-- name: forget
-- Forget what was planned to begin in a time. Served by rosters_by_time.
DELETE FROM rosters WHERE tenant = $1 AND begins >= $2::timestamptz AND begins < $3::timestamptz;

-- name: add
-- What is planned.
INSERT INTO rosters (tenant, agent, begins, ends, shift)
SELECT $1, * FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[]);

-- name: planned
-- Who was planned to work in some part of a time; nobody works longer than two days. Served by rosters_by_time.
SELECT agent, begins, ends, shift FROM rosters
WHERE tenant = $1 AND begins > $2::timestamptz - interval '2 days' AND begins < $3::timestamptz AND ends > $2
ORDER BY begins, agent;
