-- streams that can't be projected stand aside, and nobody waits for them
-- depends: 20261126_03_reading

-- migrate: apply

-- Groups that were in a batch that failed for what is in it are projected apart from the others, in ever smaller
-- batches, until the stream that can't be projected is found.
ALTER TABLE pending ADD COLUMN suspect boolean NOT NULL DEFAULT false;
CREATE INDEX pending_suspects ON pending (id) WHERE suspect;

-- Streams (calls, agents, items of work) whose projection fails for what they tell. Their events are in the journal;
-- they are tried again at next_try_at, each alone. Part 'calls' is the projection itself, 'times' the agents' times.
CREATE TABLE set_aside (
    part        text        NOT NULL,
    tenant      text        NOT NULL,
    source      text        NOT NULL,
    call_id     text        NOT NULL,
    first_at    timestamptz NOT NULL,
    last_at     timestamptz NOT NULL,
    counted     boolean     NOT NULL,
    reason      text        NOT NULL,
    since       timestamptz NOT NULL,
    tries       integer     NOT NULL,
    next_try_at timestamptz NOT NULL,
    PRIMARY KEY (part, tenant, source, call_id)
);

CREATE INDEX set_aside_by_time ON set_aside (next_try_at);

-- Takes groups that nobody else holds: at most so many, and no more once they have so many streams. The sources take
-- turns, the oldest group of each first, so that thousands of groups of one source hold up no other; looked at are the
-- oldest groups and the newest, for behind a long import there are others. It locks what it takes and nothing else, so
-- that a second projector finds the rest. Rows come and go too fast for the planner's statistics: the index in its order
-- is always right, and reads no more than is looked at.
CREATE FUNCTION take_pending(most_groups integer, most_streams integer, of_suspects boolean) RETURNS SETOF pending
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    candidate bigint;
    taken pending;
    groups integer := 0;
    streams integer := 0;
BEGIN
    FOR candidate IN
        SELECT id FROM (
            (SELECT id, sources[1] AS source FROM pending WHERE suspect = of_suspects ORDER BY id LIMIT 400)
            UNION
            (SELECT id, sources[1] FROM pending WHERE suspect = of_suspects ORDER BY id DESC LIMIT 100)
        ) AS near
        ORDER BY row_number() OVER (PARTITION BY source ORDER BY id), id
    LOOP
        EXIT WHEN groups >= most_groups OR streams >= most_streams;
        SELECT * INTO taken FROM pending WHERE id = candidate FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        groups := groups + 1;
        streams := streams + cardinality(taken.call_ids);
        RETURN NEXT taken;
    END LOOP;
END $$;

-- migrate: rollback

DROP FUNCTION take_pending(integer, integer, boolean);
DROP TABLE set_aside;
DROP INDEX pending_suspects;
ALTER TABLE pending DROP COLUMN suspect;
