-- The hardware inventory. A widget is a part with a serial number and up to three slots, whose ports stand in `ports`, one letter each
-- (P, Q or R), fixed once it is made. slotN holds the widget that is joined there. An association is one slot of each of two widgets with
-- the same port, so that it stands in both rows: the triggers below hold that, whoever writes.
CREATE TABLE widgets (
    id BIGINT NOT NULL CONSTRAINT widgets_id PRIMARY KEY,
    serial_number TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    ports TEXT COLLATE "C" NOT NULL,
    slot1 BIGINT,
    slot2 BIGINT,
    slot3 BIGINT,
    CONSTRAINT widgets_serial_number_length CHECK (length(serial_number) BETWEEN 1 AND 200),
    CONSTRAINT widgets_name_length CHECK (length(name) <= 1000),
    CONSTRAINT widgets_ports_known CHECK (length(ports) <= 3 AND replace(replace(replace(ports, 'P', ''), 'Q', ''), 'R', '') = ''),
    CONSTRAINT widgets_slots_exist CHECK (
        (slot1 IS NULL OR length(ports) >= 1) AND (slot2 IS NULL OR length(ports) >= 2) AND (slot3 IS NULL OR length(ports) >= 3)),
    CONSTRAINT widgets_not_with_itself CHECK (slot1 <> id AND slot2 <> id AND slot3 <> id),
    CONSTRAINT widgets_once_for_each_port CHECK (
        NOT (slot1 = slot2 AND substr(ports, 1, 1) = substr(ports, 2, 1))
        AND NOT (slot1 = slot3 AND substr(ports, 1, 1) = substr(ports, 3, 1))
        AND NOT (slot2 = slot3 AND substr(ports, 2, 1) = substr(ports, 3, 1)))
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
CREATE UNIQUE INDEX widgets_serial_number ON widgets (serial_number);
-- Ids are handed out in blocks: the next one that nobody has.
CREATE TABLE inventory_numbers (
    name TEXT COLLATE "C" NOT NULL CONSTRAINT inventory_numbers_name PRIMARY KEY,
    next_number BIGINT NOT NULL
);
INSERT INTO inventory_numbers (name, next_number) VALUES ('widget', 1);
-- What a node is made of, by serial number: a part that was removed is missed there.
CREATE TABLE node_parts (
    node_id TEXT COLLATE "C" NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    serial_number TEXT COLLATE "C" NOT NULL,
    CONSTRAINT node_parts_node_id_serial_number PRIMARY KEY (node_id, serial_number)
);
CREATE INDEX node_parts_serial_number ON node_parts (serial_number);

-- Plans of these functions are kept by the connection, and must not be those that were right while the table was small.
CREATE FUNCTION widgets_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = TG_ARGV[0];
END
$$;
CREATE TRIGGER widgets_begin_free BEFORE INSERT ON widgets FOR EACH ROW
WHEN (NEW.slot1 IS NOT NULL OR NEW.slot2 IS NOT NULL OR NEW.slot3 IS NOT NULL)
EXECUTE FUNCTION widgets_refuse('a new widget has no associations');
CREATE TRIGGER widgets_stay BEFORE UPDATE OF id, serial_number, ports ON widgets FOR EACH ROW
WHEN (NEW.id <> OLD.id OR NEW.serial_number <> OLD.serial_number OR NEW.ports <> OLD.ports)
EXECUTE FUNCTION widgets_refuse('id, serial number and ports of a widget are fixed');

CREATE FUNCTION widgets_removed() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan TO off SET enable_hashjoin TO off SET enable_mergejoin TO off AS $$
DECLARE
    gone BIGINT[];
    partners BIGINT[];
BEGIN
    SELECT array_agg(o.id), array_agg(l.partner) INTO gone, partners
    FROM old_rows o CROSS JOIN LATERAL (VALUES (o.slot1), (o.slot2), (o.slot3)) AS l (partner)
    WHERE l.partner IS NOT NULL;
    IF partners IS NOT NULL THEN
        UPDATE widgets SET
            slot1 = CASE WHEN slot1 = ANY (gone) THEN NULL ELSE slot1 END,
            slot2 = CASE WHEN slot2 = ANY (gone) THEN NULL ELSE slot2 END,
            slot3 = CASE WHEN slot3 = ANY (gone) THEN NULL ELSE slot3 END
        WHERE id = ANY (partners);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER widgets_removed AFTER DELETE ON widgets REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION widgets_removed();

-- A statement that writes one side must write the other, too.
CREATE FUNCTION widgets_both_sides() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan TO off SET enable_hashjoin TO off SET enable_mergejoin TO off AS $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM (
            SELECT n.id, l.partner, l.port FROM new_rows n CROSS JOIN LATERAL
                (VALUES (n.slot1, substr(n.ports, 1, 1)), (n.slot2, substr(n.ports, 2, 1)), (n.slot3, substr(n.ports, 3, 1))) AS l (partner, port)
            WHERE l.partner IS NOT NULL
            EXCEPT
            SELECT o.id, l.partner, l.port FROM old_rows o CROSS JOIN LATERAL
                (VALUES (o.slot1, substr(o.ports, 1, 1)), (o.slot2, substr(o.ports, 2, 1)), (o.slot3, substr(o.ports, 3, 1))) AS l (partner, port)
            WHERE l.partner IS NOT NULL
        ) AS made
        WHERE NOT EXISTS (
            SELECT 1 FROM widgets w WHERE w.id = made.partner
                AND (w.slot1 = made.id AND substr(w.ports, 1, 1) = made.port OR w.slot2 = made.id AND substr(w.ports, 2, 1) = made.port
                    OR w.slot3 = made.id AND substr(w.ports, 3, 1) = made.port))
    ) OR EXISTS (
        SELECT 1 FROM (
            SELECT o.id, l.partner, l.port FROM old_rows o CROSS JOIN LATERAL
                (VALUES (o.slot1, substr(o.ports, 1, 1)), (o.slot2, substr(o.ports, 2, 1)), (o.slot3, substr(o.ports, 3, 1))) AS l (partner, port)
            WHERE l.partner IS NOT NULL
            EXCEPT
            SELECT n.id, l.partner, l.port FROM new_rows n CROSS JOIN LATERAL
                (VALUES (n.slot1, substr(n.ports, 1, 1)), (n.slot2, substr(n.ports, 2, 1)), (n.slot3, substr(n.ports, 3, 1))) AS l (partner, port)
            WHERE l.partner IS NOT NULL
        ) AS ended
        JOIN widgets w ON w.id = ended.partner
        WHERE w.slot1 = ended.id AND substr(w.ports, 1, 1) = ended.port OR w.slot2 = ended.id AND substr(w.ports, 2, 1) = ended.port
            OR w.slot3 = ended.id AND substr(w.ports, 3, 1) = ended.port
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'an association stands in both widgets or in neither';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER widgets_both_sides AFTER UPDATE ON widgets REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION widgets_both_sides();

-- Locks the named widgets, and of those that will be removed the partners, too, and returns them. All in the order of their ids, so that
-- two transactions never wait for each other.
CREATE FUNCTION inventory_lock(named JSONB, removed JSONB)
RETURNS TABLE (id BIGINT, serial_number TEXT, ports TEXT, slot1 BIGINT, slot2 BIGINT, slot3 BIGINT) LANGUAGE plpgsql
SET enable_seqscan TO off SET enable_hashjoin TO off SET enable_mergejoin TO off AS $$
#variable_conflict use_column
DECLARE
    serials TEXT[] COLLATE "C" := ARRAY (SELECT DISTINCT jsonb_array_elements_text(named || removed));
    partners BIGINT[];
BEGIN
    IF jsonb_array_length(removed) > 0 THEN
        SELECT array_agg(p.id) INTO partners
            FROM jsonb_array_elements_text(removed) AS r (serial) JOIN widgets w ON w.serial_number = r.serial COLLATE "C"
            CROSS JOIN LATERAL (VALUES (w.slot1), (w.slot2), (w.slot3)) AS p (id) WHERE p.id IS NOT NULL;
    END IF;
    RETURN QUERY SELECT w.id, w.serial_number, w.ports, w.slot1, w.slot2, w.slot3
        FROM widgets w WHERE w.serial_number = ANY (serials) OR w.id = ANY (partners) ORDER BY w.id FOR UPDATE;
END
$$;

-- Carries out what was decided over locked rows, and returns the serial numbers of the added widgets that nobody has had. They come
-- sorted, for the same reason.
CREATE FUNCTION inventory_apply(added JSONB, removed JSONB, changed JSONB) RETURNS SETOF TEXT LANGUAGE plpgsql
SET enable_seqscan TO off SET enable_hashjoin TO off SET enable_mergejoin TO off AS $$
BEGIN
    IF jsonb_array_length(added) > 0 THEN
        RETURN QUERY INSERT INTO widgets (id, serial_number, name, ports)
            SELECT a.id, a.serial, a.name, a.ports
            FROM jsonb_to_recordset(added) AS a (id BIGINT, serial TEXT, name TEXT, ports TEXT)
            ON CONFLICT (serial_number) DO NOTHING RETURNING widgets.serial_number;
    END IF;
    IF jsonb_array_length(removed) > 0 THEN
        DELETE FROM widgets WHERE id IN (SELECT CAST(r.id AS BIGINT) FROM jsonb_array_elements_text(removed) AS r (id));
    END IF;
    IF jsonb_array_length(changed) > 0 THEN
        UPDATE widgets w SET slot1 = c.slot1, slot2 = c.slot2, slot3 = c.slot3
            FROM jsonb_to_recordset(changed) AS c (id BIGINT, slot1 BIGINT, slot2 BIGINT, slot3 BIGINT)
            WHERE w.id = c.id;
    END IF;
END
$$;
