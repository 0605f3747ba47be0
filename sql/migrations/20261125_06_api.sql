-- the work on missed customers, who has read and done what, and answers to requests that may be sent again
-- depends: 20261125_05_shifts

-- migrate: apply

-- What was done about each missed customer (or call of a hidden number), folded from the journal: who has him, what was
-- noted, how he was settled by hand. Written with the event itself, so that two can't claim the same.
CREATE TABLE work_items (
    tenant        text NOT NULL,
    item          text NOT NULL,
    claimed_by    text NOT NULL,
    claimed_until timestamptz,
    body          json NOT NULL,
    PRIMARY KEY (tenant, item)
);

-- Who has seen full numbers and what sources sent, what was exported, what was changed. Only added to.
CREATE TABLE audit (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    who     text  NOT NULL,
    role    text  NOT NULL,
    action  text  NOT NULL,
    tenant  text  NOT NULL,
    subject text  NOT NULL,
    details jsonb NOT NULL
);

CREATE INDEX audit_by_time ON audit (at, id);

-- Retention may forget whole years of it, and says so by the setting; nothing else changes or removes a row.
CREATE FUNCTION keep_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('callkpi.forgets_audit', true) = 'yes' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit is only added to' USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_is_kept BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION keep_audit();

-- Answers by the key that a client gave its request: sent again, it is answered the same and done once.
CREATE TABLE idempotency (
    reader text        NOT NULL,
    key    text        NOT NULL,
    digest text        NOT NULL,
    body   text        NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (reader, key)
);

CREATE INDEX idempotency_by_age ON idempotency (at);

-- migrate: rollback

DROP TABLE idempotency;
DROP TABLE audit;
DROP FUNCTION keep_audit();
DROP TABLE work_items;
