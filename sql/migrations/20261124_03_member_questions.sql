-- calls whose reading depends on what the members of a queue were doing
-- depends: 20261123_02_calls

-- migrate: apply

-- A queue that gives a caller up says the same for a timeout and for having nobody left. Which of the two it was is read
-- from the states of its members at that moment; when such a state comes late, the call is folded again.
CREATE TABLE member_questions (
    tenant  text        NOT NULL,
    source  text        NOT NULL,
    queue   text        NOT NULL,
    at      timestamptz NOT NULL,
    call_id text        NOT NULL,
    PRIMARY KEY (tenant, source, queue, at, call_id)
);

-- migrate: rollback

DROP TABLE member_questions;
