-- credential_sealed is an envelope of store::Sealer, bound to nodes|credential|ID.
CREATE TABLE nodes (
    id TEXT COLLATE "C" NOT NULL CONSTRAINT nodes_id PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    url TEXT NOT NULL,
    kind TEXT NOT NULL,
    credential_sealed BYTEA,
    tags JSONB NOT NULL,
    region TEXT,
    weight DOUBLE PRECISION NOT NULL,
    draining BOOLEAN NOT NULL,
    source TEXT NOT NULL,
    max_in_flight BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX nodes_name ON nodes (name);
