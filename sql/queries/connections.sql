-- name: try_lock
-- One holder a source over all daemons; held by the session.
SELECT pg_try_advisory_lock(hashtext('callkpi.connection'), hashtext($1));

-- name: write
-- How a connection is now. A sentence of the same state changes nothing of since when it is so.
INSERT INTO connections AS c (source, connected, changed_at, heard_at, reason, problem)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (source) DO UPDATE SET
    connected = excluded.connected,
    changed_at = CASE WHEN c.connected = excluded.connected THEN c.changed_at ELSE excluded.changed_at END,
    seen_at = now(), heard_at = greatest(c.heard_at, excluded.heard_at), reason = excluded.reason,
    problem = excluded.problem;

-- name: heard_at
-- When a source was last heard, by this holder or an earlier one.
SELECT heard_at FROM connections WHERE source = $1;

-- name: all
-- Every connection, for a scrape.
SELECT source, connected, changed_at, seen_at, heard_at, reason, problem FROM connections ORDER BY source;

-- name: position
-- How far something was read.
SELECT position FROM connection_positions WHERE source = $1 AND name = $2;

-- name: write_position
-- What is before this position is durable.
INSERT INTO connection_positions (source, name, position) VALUES ($1, $2, $3)
ON CONFLICT (source, name) DO UPDATE SET position = excluded.position, written_at = now();
