-- name: lock
-- One daemon at a time publishes: two that start together would meet in the rows and in the role.
SELECT pg_advisory_xact_lock(hashtext('callkpi.views'));

-- name: forget
-- What an earlier configuration said.
DELETE FROM view_tenants;

-- name: forget_names
-- Names of an earlier configuration.
DELETE FROM view_names;

-- name: tell_tenant
-- What the views need to know of one tenant.
INSERT INTO view_tenants
    (tenant, timezone, service_level_formula, service_level_seconds, write_off, working_day, numbers,
     ringing_counts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: tell_names
-- What people call queues, lines and agents.
INSERT INTO view_names (tenant, kind, name, shown)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[]);

-- name: login_statement
-- The statement that lets the reader log in. $1 is no password but what PostgreSQL itself would store of one.
SELECT format('ALTER ROLE callkpi_reader LOGIN PASSWORD %L', $1::text);

-- name: prepare_reader
-- Grants the views to the reader; says in words what was not possible.
SELECT prepare_reader();

-- name: forget_shifts
-- Shifts of an earlier configuration, or of another week.
DELETE FROM view_shifts;

-- name: tell_shift
-- One shift of one day.
INSERT INTO view_shifts (tenant, id, name, day, begins, ends, queues, team) VALUES ($1, $2, $3, $4, $5, $6, $7, $8);
