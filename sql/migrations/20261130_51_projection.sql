-- which callkpi computed the figures: an older one that came back, a rebuild that was cut off
-- depends: 20261126_03_reading

-- migrate: apply

CREATE TABLE projection (
    only_row         boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    knows            text NOT NULL,  -- the last migration that the newest callkpi knows which has worked here
    older_since      timestamptz,    -- an older one has computed calls since it, from then on
    older_until      timestamptz,    -- and last about then
    rebuild_begun_at timestamptz     -- a rebuild that has not come to its end
);

-- Every session of callkpi says what it knows (callkpi.knows); versions from before this table say nothing. What such a
-- one writes lacks what later versions keep beside a call.
CREATE FUNCTION note_older_writer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE callkpi.projection
    SET older_since = coalesce(older_since, now()), older_until = now()
    WHERE knows COLLATE "C" > coalesce(current_setting('callkpi.knows', true), '')
        AND (older_until IS NULL OR older_until < now() - interval '10 seconds');
    RETURN NULL;
END $$;

CREATE TRIGGER older_writer AFTER INSERT OR UPDATE ON calls FOR EACH STATEMENT EXECUTE FUNCTION note_older_writer();

-- migrate: rollback

DROP TRIGGER older_writer ON calls;
DROP FUNCTION note_older_writer();
DROP TABLE projection;
