-- name: tell
-- Background work that fails now.
INSERT INTO work_failures AS w (name, subject, since, error, told_at)
SELECT name, subject, now(), error, now() FROM unnest($1::text[], $2::text[], $3::text[]) AS n (name, subject, error)
ORDER BY name, subject
ON CONFLICT (name, subject) DO UPDATE SET
    since = CASE WHEN w.told_at < now() - interval '1 minute' THEN excluded.since ELSE w.since END,
    error = excluded.error, told_at = excluded.told_at;

-- name: forget
-- Background work that goes on.
DELETE FROM work_failures AS w
USING unnest($1::text[], $2::text[]) AS n (name, subject) WHERE (w.name, w.subject) = (n.name, n.subject);

-- name: now
-- What fails now, longest first. What was not told for a minute is of a process that is gone.
SELECT name, subject, error, extract(epoch FROM now() - since)::float8 AS seconds FROM work_failures
WHERE told_at > now() - interval '1 minute' ORDER BY since, name, subject;
