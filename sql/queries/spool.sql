-- name: schema
-- The spool is SQLite. WAL with synchronous=FULL: a commit is on disk when it returns.
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS deliveries (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    source      TEXT NOT NULL,
    media_type  TEXT NOT NULL,
    received_at REAL NOT NULL,
    body        BLOB NOT NULL
);

-- name: put
-- Keep one delivery.
INSERT INTO deliveries (source, media_type, received_at, body) VALUES (?, ?, ?, ?);

-- name: page
-- The oldest deliveries after a number, the first one and more while they stay below a number of bytes.
SELECT number, source, media_type, received_at, body FROM (
    SELECT *, sum(length(body)) OVER (ORDER BY number) - length(body) AS before
    FROM (SELECT * FROM deliveries WHERE number > ? ORDER BY number LIMIT ?)
) WHERE before < ? ORDER BY number;

-- name: forget
-- The journal has it.
DELETE FROM deliveries WHERE number = ?;

-- name: used
-- Bytes of pages that hold something.
SELECT (c.page_count - f.freelist_count) * s.page_size
FROM pragma_page_count AS c, pragma_freelist_count AS f, pragma_page_size AS s;

-- name: oldest
-- The oldest deliveries, without what they say.
SELECT source, received_at FROM deliveries ORDER BY number LIMIT ?;

-- name: count
-- How many deliveries wait.
SELECT count(*) FROM deliveries;
