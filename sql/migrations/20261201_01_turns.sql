-- groups that fill a batch hold up no other source, and groups of the same calls go together
-- depends: 20261130_01_set_aside

-- migrate: apply

-- Groups are taken as before, with three differences. Big ones, of an import or a huge delivery, are taken only with
-- *with_big*: what is small does not have to wait for the end of a batch that takes seconds, if batches with and without
-- take turns. The oldest group of each source is always among those that are taken: a source whose every group fills a
-- batch would else be alone in it, as long as it has any. And of big groups a call counts once, in however many of them
-- it is: a hundred events of each of a thousand calls are folded a few times, not once with each group. What a batch
-- reads stays bounded: at most ten times as many streams, each time that a group names them.
DROP FUNCTION take_pending(integer, integer, boolean);
CREATE FUNCTION take_pending(most_groups integer, most_streams integer, of_suspects boolean, with_big boolean)
RETURNS SETOF pending
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    candidate record;
    taken pending;
    groups integer := 0;
    streams integer := 0;
    named integer := 0;
    seen text[] := '{}';
    big integer := most_streams / 10;
    others text[];
BEGIN
    FOR candidate IN
        SELECT id, row_number() OVER (PARTITION BY source ORDER BY id) AS turn FROM (
            (SELECT id, sources[1] AS source FROM pending WHERE suspect = of_suspects ORDER BY id LIMIT 400)
            UNION
            (SELECT id, sources[1] FROM pending WHERE suspect = of_suspects ORDER BY id DESC LIMIT 100)
        ) AS near
        ORDER BY turn, id
    LOOP
        EXIT WHEN groups >= most_groups OR candidate.turn > 1 AND named >= 10 * most_streams;
        IF candidate.turn > 1 AND streams >= most_streams THEN
            -- The batch is full but for groups of calls that are in it.
            SELECT call_ids INTO others FROM pending WHERE id = candidate.id AND cardinality(call_ids) > big;
            CONTINUE WHEN NOT FOUND;
            EXIT WHEN EXISTS (SELECT unnest(others) EXCEPT SELECT unnest(seen));
        END IF;
        SELECT * INTO taken FROM pending
            WHERE id = candidate.id AND (with_big OR cardinality(call_ids) <= big) FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        groups := groups + 1;
        named := named + cardinality(taken.call_ids);
        -- Small groups are counted as they are: to look for theirs among the others would take longer than it saves.
        IF cardinality(taken.call_ids) <= big THEN
            streams := streams + cardinality(taken.call_ids);
        ELSE
            others := ARRAY(SELECT unnest(taken.call_ids) EXCEPT SELECT unnest(seen));
            seen := seen || others;
            streams := streams + cardinality(others);
        END IF;
        RETURN NEXT taken;
    END LOOP;
END $$;

-- migrate: rollback

DROP FUNCTION take_pending(integer, integer, boolean, boolean);
CREATE FUNCTION take_pending(most_groups integer, most_streams integer, of_suspects boolean)
RETURNS SETOF pending
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
