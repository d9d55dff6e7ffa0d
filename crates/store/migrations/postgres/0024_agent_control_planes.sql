-- Where control planes of this installation listen for agents. Each adds to its signs of life every few seconds; what counts for the others is
-- that the number grows, not when.
CREATE TABLE agent_control_planes (
    url TEXT COLLATE "C" NOT NULL CONSTRAINT agent_control_planes_url PRIMARY KEY,
    signs BIGINT NOT NULL
);
