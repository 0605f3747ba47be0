-- background work that fails, for all processes to tell
-- depends: 20261126_03_reading

-- migrate: apply

-- A loop of the daemon whose rounds fail. Its process tells it every second, and forgets it when a round succeeds.
CREATE TABLE work_failures (
    name    text        NOT NULL,  -- of a short list: callkpi.looping.NAMES
    subject text        NOT NULL,  -- whose work it is: a source, or ''
    since   timestamptz NOT NULL,
    error   text        NOT NULL,  -- the kind of the last error
    told_at timestamptz NOT NULL,
    PRIMARY KEY (name, subject)
);

-- migrate: rollback

DROP TABLE work_failures;
