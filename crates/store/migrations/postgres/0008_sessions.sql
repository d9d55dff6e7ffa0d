-- Sessions are held with a refresh token that is replaced at each use: its hash is the session's token_hash. Those made before
-- are not rotating; they keep their one token until they end.
ALTER TABLE sessions ADD COLUMN rotating BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE sessions ADD COLUMN ip TEXT;
ALTER TABLE sessions ADD COLUMN user_agent TEXT;

-- Refresh tokens that were replaced: whoever presents one again does not hold the session alone.
CREATE TABLE spent_refresh_tokens (
    token_hash BYTEA NOT NULL CONSTRAINT spent_refresh_tokens_token_hash PRIMARY KEY,
    session_id TEXT COLLATE "C" NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    spent_at BIGINT NOT NULL
);
CREATE INDEX spent_refresh_tokens_session_id_spent_at ON spent_refresh_tokens (session_id, spent_at);

-- What signs access tokens. The private key is sealed.
CREATE TABLE signing_keys (
    id TEXT COLLATE "C" NOT NULL CONSTRAINT signing_keys_id PRIMARY KEY,
    public_key BYTEA NOT NULL,
    private_key BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    signs_from BIGINT NOT NULL
);
