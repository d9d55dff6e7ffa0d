-- The hardware inventory. A widget is a part with a serial number and up to three slots, whose ports stand in `ports`, one letter each
-- (P, Q or R), fixed once it is made. slotN holds the widget that is joined there. An association is one slot of each of two widgets with
-- the same port, so that it stands in both rows: the triggers below hold that, whoever writes.
CREATE TABLE widgets (
    id INTEGER NOT NULL PRIMARY KEY,
    serial_number TEXT NOT NULL,
    name TEXT NOT NULL,
    ports TEXT NOT NULL,
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
);
CREATE UNIQUE INDEX widgets_serial_number ON widgets (serial_number);
-- Ids are handed out in blocks: the next one that nobody has.
CREATE TABLE inventory_numbers (
    name TEXT NOT NULL PRIMARY KEY,
    next_number BIGINT NOT NULL
);
INSERT INTO inventory_numbers (name, next_number) VALUES ('widget', 1);
-- What a node is made of, by serial number: a part that was removed is missed there.
CREATE TABLE node_parts (
    node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    serial_number TEXT NOT NULL,
    PRIMARY KEY (node_id, serial_number)
);
CREATE INDEX node_parts_serial_number ON node_parts (serial_number);

CREATE TRIGGER widgets_begin_free BEFORE INSERT ON widgets
WHEN NEW.slot1 IS NOT NULL OR NEW.slot2 IS NOT NULL OR NEW.slot3 IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a new widget has no associations');
END;
CREATE TRIGGER widgets_stay BEFORE UPDATE OF id, serial_number, ports ON widgets
WHEN NEW.id <> OLD.id OR NEW.serial_number <> OLD.serial_number OR NEW.ports <> OLD.ports
BEGIN
    SELECT RAISE(ABORT, 'id, serial number and ports of a widget are fixed');
END;
CREATE TRIGGER widgets_removed AFTER DELETE ON widgets
WHEN OLD.slot1 IS NOT NULL OR OLD.slot2 IS NOT NULL OR OLD.slot3 IS NOT NULL
BEGIN
    UPDATE widgets SET
        slot1 = CASE WHEN slot1 = OLD.id THEN NULL ELSE slot1 END,
        slot2 = CASE WHEN slot2 = OLD.id THEN NULL ELSE slot2 END,
        slot3 = CASE WHEN slot3 = OLD.id THEN NULL ELSE slot3 END
    WHERE id IN (OLD.slot1, OLD.slot2, OLD.slot3);
END;
-- One side is written, and the other follows: whoever was joined there is freed, whoever is now takes a free slot of the same port.
CREATE TRIGGER widgets_slot1 AFTER UPDATE OF slot1 ON widgets
WHEN NEW.slot1 IS NOT OLD.slot1
BEGIN
    UPDATE widgets SET
        slot1 = CASE WHEN slot1 = NEW.id AND substr(ports, 1, 1) = substr(NEW.ports, 1, 1) THEN NULL ELSE slot1 END,
        slot2 = CASE WHEN slot2 = NEW.id AND substr(ports, 2, 1) = substr(NEW.ports, 1, 1) THEN NULL ELSE slot2 END,
        slot3 = CASE WHEN slot3 = NEW.id AND substr(ports, 3, 1) = substr(NEW.ports, 1, 1) THEN NULL ELSE slot3 END
    WHERE id = OLD.slot1 AND NOT (NEW.slot2 IS OLD.slot1 AND substr(NEW.ports, 2, 1) = substr(NEW.ports, 1, 1)) AND NOT (NEW.slot3 IS OLD.slot1 AND substr(NEW.ports, 3, 1) = substr(NEW.ports, 1, 1));
    UPDATE widgets SET
        slot1 = CASE WHEN slot1 IS NULL AND substr(ports, 1, 1) = substr(NEW.ports, 1, 1) THEN NEW.id ELSE slot1 END,
        slot2 = CASE WHEN slot2 IS NULL AND substr(ports, 2, 1) = substr(NEW.ports, 1, 1) AND NOT (slot1 IS NULL AND substr(ports, 1, 1) = substr(NEW.ports, 1, 1)) THEN NEW.id ELSE slot2 END,
        slot3 = CASE WHEN slot3 IS NULL AND substr(ports, 3, 1) = substr(NEW.ports, 1, 1) AND NOT (slot1 IS NULL AND substr(ports, 1, 1) = substr(NEW.ports, 1, 1)) AND NOT (slot2 IS NULL AND substr(ports, 2, 1) = substr(NEW.ports, 1, 1)) THEN NEW.id ELSE slot3 END
    WHERE id = NEW.slot1 AND ((slot1 = NEW.id AND substr(ports, 1, 1) = substr(NEW.ports, 1, 1) OR slot2 = NEW.id AND substr(ports, 2, 1) = substr(NEW.ports, 1, 1) OR slot3 = NEW.id AND substr(ports, 3, 1) = substr(NEW.ports, 1, 1))) IS NOT 1;
    SELECT RAISE(ABORT, 'an association takes a free slot of the same port of both widgets')
    WHERE NEW.slot1 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM widgets WHERE id = NEW.slot1 AND (slot1 = NEW.id AND substr(ports, 1, 1) = substr(NEW.ports, 1, 1) OR slot2 = NEW.id AND substr(ports, 2, 1) = substr(NEW.ports, 1, 1) OR slot3 = NEW.id AND substr(ports, 3, 1) = substr(NEW.ports, 1, 1)));
END;
CREATE TRIGGER widgets_slot2 AFTER UPDATE OF slot2 ON widgets
WHEN NEW.slot2 IS NOT OLD.slot2
BEGIN
    UPDATE widgets SET
        slot1 = CASE WHEN slot1 = NEW.id AND substr(ports, 1, 1) = substr(NEW.ports, 2, 1) THEN NULL ELSE slot1 END,
        slot2 = CASE WHEN slot2 = NEW.id AND substr(ports, 2, 1) = substr(NEW.ports, 2, 1) THEN NULL ELSE slot2 END,
        slot3 = CASE WHEN slot3 = NEW.id AND substr(ports, 3, 1) = substr(NEW.ports, 2, 1) THEN NULL ELSE slot3 END
    WHERE id = OLD.slot2 AND NOT (NEW.slot1 IS OLD.slot2 AND substr(NEW.ports, 1, 1) = substr(NEW.ports, 2, 1)) AND NOT (NEW.slot3 IS OLD.slot2 AND substr(NEW.ports, 3, 1) = substr(NEW.ports, 2, 1));
    UPDATE widgets SET
        slot1 = CASE WHEN slot1 IS NULL AND substr(ports, 1, 1) = substr(NEW.ports, 2, 1) THEN NEW.id ELSE slot1 END,
        slot2 = CASE WHEN slot2 IS NULL AND substr(ports, 2, 1) = substr(NEW.ports, 2, 1) AND NOT (slot1 IS NULL AND substr(ports, 1, 1) = substr(NEW.ports, 2, 1)) THEN NEW.id ELSE slot2 END,
        slot3 = CASE WHEN slot3 IS NULL AND substr(ports, 3, 1) = substr(NEW.ports, 2, 1) AND NOT (slot1 IS NULL AND substr(ports, 1, 1) = substr(NEW.ports, 2, 1)) AND NOT (slot2 IS NULL AND substr(ports, 2, 1) = substr(NEW.ports, 2, 1)) THEN NEW.id ELSE slot3 END
    WHERE id = NEW.slot2 AND ((slot1 = NEW.id AND substr(ports, 1, 1) = substr(NEW.ports, 2, 1) OR slot2 = NEW.id AND substr(ports, 2, 1) = substr(NEW.ports, 2, 1) OR slot3 = NEW.id AND substr(ports, 3, 1) = substr(NEW.ports, 2, 1))) IS NOT 1;
    SELECT RAISE(ABORT, 'an association takes a free slot of the same port of both widgets')
    WHERE NEW.slot2 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM widgets WHERE id = NEW.slot2 AND (slot1 = NEW.id AND substr(ports, 1, 1) = substr(NEW.ports, 2, 1) OR slot2 = NEW.id AND substr(ports, 2, 1) = substr(NEW.ports, 2, 1) OR slot3 = NEW.id AND substr(ports, 3, 1) = substr(NEW.ports, 2, 1)));
END;
CREATE TRIGGER widgets_slot3 AFTER UPDATE OF slot3 ON widgets
WHEN NEW.slot3 IS NOT OLD.slot3
BEGIN
    UPDATE widgets SET
        slot1 = CASE WHEN slot1 = NEW.id AND substr(ports, 1, 1) = substr(NEW.ports, 3, 1) THEN NULL ELSE slot1 END,
        slot2 = CASE WHEN slot2 = NEW.id AND substr(ports, 2, 1) = substr(NEW.ports, 3, 1) THEN NULL ELSE slot2 END,
        slot3 = CASE WHEN slot3 = NEW.id AND substr(ports, 3, 1) = substr(NEW.ports, 3, 1) THEN NULL ELSE slot3 END
    WHERE id = OLD.slot3 AND NOT (NEW.slot1 IS OLD.slot3 AND substr(NEW.ports, 1, 1) = substr(NEW.ports, 3, 1)) AND NOT (NEW.slot2 IS OLD.slot3 AND substr(NEW.ports, 2, 1) = substr(NEW.ports, 3, 1));
    UPDATE widgets SET
        slot1 = CASE WHEN slot1 IS NULL AND substr(ports, 1, 1) = substr(NEW.ports, 3, 1) THEN NEW.id ELSE slot1 END,
        slot2 = CASE WHEN slot2 IS NULL AND substr(ports, 2, 1) = substr(NEW.ports, 3, 1) AND NOT (slot1 IS NULL AND substr(ports, 1, 1) = substr(NEW.ports, 3, 1)) THEN NEW.id ELSE slot2 END,
        slot3 = CASE WHEN slot3 IS NULL AND substr(ports, 3, 1) = substr(NEW.ports, 3, 1) AND NOT (slot1 IS NULL AND substr(ports, 1, 1) = substr(NEW.ports, 3, 1)) AND NOT (slot2 IS NULL AND substr(ports, 2, 1) = substr(NEW.ports, 3, 1)) THEN NEW.id ELSE slot3 END
    WHERE id = NEW.slot3 AND ((slot1 = NEW.id AND substr(ports, 1, 1) = substr(NEW.ports, 3, 1) OR slot2 = NEW.id AND substr(ports, 2, 1) = substr(NEW.ports, 3, 1) OR slot3 = NEW.id AND substr(ports, 3, 1) = substr(NEW.ports, 3, 1))) IS NOT 1;
    SELECT RAISE(ABORT, 'an association takes a free slot of the same port of both widgets')
    WHERE NEW.slot3 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM widgets WHERE id = NEW.slot3 AND (slot1 = NEW.id AND substr(ports, 1, 1) = substr(NEW.ports, 3, 1) OR slot2 = NEW.id AND substr(ports, 2, 1) = substr(NEW.ports, 3, 1) OR slot3 = NEW.id AND substr(ports, 3, 1) = substr(NEW.ports, 3, 1)));
END;
