-- credential_sealed is an envelope of store::Sealer, bound to nodes|credential|ID.
CREATE TABLE nodes (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    kind TEXT NOT NULL,
    credential_sealed BLOB,
    tags TEXT NOT NULL CHECK (json_valid(tags)),
    region TEXT,
    weight DOUBLE PRECISION NOT NULL,
    draining BOOLEAN NOT NULL,
    source TEXT NOT NULL,
    max_in_flight BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX nodes_name ON nodes (name);
