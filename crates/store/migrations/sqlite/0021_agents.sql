-- Who issues the certificates of agents: one authority for the installation. Its private key is an envelope of store::Sealer, bound to
-- agent_authority|key.
CREATE TABLE agent_authority (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    certificate BLOB NOT NULL,
    key_sealed BLOB NOT NULL,
    created_at BIGINT NOT NULL
);
-- What lets one machine each join as a node. Only the hash of the secret is kept. Used once: used_at is set by who was first.
CREATE TABLE agent_invitations (
    token_hash TEXT NOT NULL PRIMARY KEY,
    node_name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX agent_invitations_expires_at ON agent_invitations (expires_at);
