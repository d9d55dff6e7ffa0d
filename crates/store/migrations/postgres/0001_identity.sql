-- Times are microseconds since the Unix epoch, UTC. Ids are UUIDs as text.
-- Text that is sorted or compared has the "C" collation, which orders as SQLite does.
CREATE TABLE settings (
    key TEXT COLLATE "C" NOT NULL CONSTRAINT settings_key PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE users (
    id TEXT COLLATE "C" NOT NULL CONSTRAINT users_id PRIMARY KEY,
    username TEXT COLLATE "C" NOT NULL,
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    disabled_at BIGINT
);
CREATE UNIQUE INDEX users_username ON users (username);

CREATE TABLE sessions (
    id TEXT COLLATE "C" NOT NULL CONSTRAINT sessions_id PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_hash BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_used_at BIGINT
);
CREATE UNIQUE INDEX sessions_token_hash ON sessions (token_hash);
CREATE INDEX sessions_user_id_created_at ON sessions (user_id, created_at);
CREATE INDEX sessions_expires_at ON sessions (expires_at);

CREATE TABLE api_keys (
    id TEXT COLLATE "C" NOT NULL CONSTRAINT api_keys_id PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    prefix TEXT NOT NULL,
    secret_hash BYTEA NOT NULL,
    user_id TEXT COLLATE "C" REFERENCES users (id) ON DELETE CASCADE,
    models JSONB,
    scopes JSONB NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_used_at BIGINT
);
CREATE UNIQUE INDEX api_keys_secret_hash ON api_keys (secret_hash);
CREATE INDEX api_keys_user_id ON api_keys (user_id);
