-- Counts a change of who may do what, and reads the end of the journal: in one call, whose statements are planned once for a
-- connection's life. The second one sees what was committed while the first one waited for its turn.
CREATE FUNCTION take_place() RETURNS TABLE (generation BIGINT, head TEXT) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE settings s SET value = CAST(CAST(s.value AS BIGINT) + 1 AS TEXT) WHERE s.key = 'identity.generation'
    RETURNING CAST(s.value AS BIGINT) INTO generation;
    IF generation IS NULL THEN
        INSERT INTO settings AS s (key, value) VALUES ('identity.generation', '1')
        ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(s.value AS BIGINT) + 1 AS TEXT)
        RETURNING CAST(s.value AS BIGINT) INTO generation;
    END IF;
    SELECT s.value INTO head FROM settings s WHERE s.key = 'audit.head';
    RETURN NEXT;
END
$$;
