-- two processes that want the same new partition at the same instant both get it
-- depends: 20261124_01_journal_key

-- migrate: apply

CREATE OR REPLACE FUNCTION ensure_partition(parent text, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    month date := date_trunc('month', at AT TIME ZONE 'UTC')::date;
    child text := parent || to_char(month, '"_"YYYY"_"MM');
BEGIN
    IF to_regclass(child) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('callkpi.partition'), hashtext(parent));
    -- Waiting for an advisory lock does not make a session look at what others have created meanwhile: its catalogue
    -- may still lack the partition that the one before it has made.
    BEGIN
        EXECUTE format(
            'CREATE TABLE %I (LIKE %I INCLUDING ALL) WITH (fillfactor = %s)',
            child, parent, CASE parent WHEN 'journal' THEN 100 ELSE 60 END
        );
    EXCEPTION WHEN duplicate_table THEN
        RETURN;
    END;
    EXECUTE format(
        'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        parent, child, month::timestamp AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC'
    );
END $$;

-- migrate: rollback

-- The function before this one did the same, but for the race.
SELECT 1;
