-- how far back things are kept, and which numbers were forgotten
-- depends: 20261125_07_delivery

-- migrate: apply

-- Since when there are events ('journal'), calls ('calls') and customers' numbers ('numbers'). A horizon only moves
-- forward, and what lies behind it is removed a while after it was set: until then everybody has heard of it.
CREATE TABLE horizons (
    what   text PRIMARY KEY,
    before timestamptz NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now()
);

-- The key of the digests by which forgotten numbers are known again. One row.
CREATE TABLE privacy_key (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    key bytea NOT NULL
);

-- Numbers that were erased, as digests: what is told again of a time before erased_at gets the same pseudonym.
CREATE TABLE erased_numbers (
    tenant    text        NOT NULL,
    digest    text        NOT NULL,
    pseudonym text        NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, digest)
);

-- Drop one month of a table. A reader that takes long is not waited for, the next attempt will do.
CREATE FUNCTION drop_partition(parent text, child text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = parent::regclass AND inhrelid = child::regclass) THEN
        RAISE EXCEPTION '% is no partition of %', child, parent;
    END IF;
    SET LOCAL lock_timeout = '3s';
    EXECUTE format('DROP TABLE %I', child);
END $$;

-- migrate: rollback

DROP FUNCTION drop_partition(text, text);
DROP TABLE erased_numbers;
DROP TABLE privacy_key;
DROP TABLE horizons;
