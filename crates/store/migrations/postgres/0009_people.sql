-- What people tell of themselves.
ALTER TABLE users ADD COLUMN email TEXT COLLATE "C";
ALTER TABLE users ADD COLUMN display_name TEXT;
CREATE UNIQUE INDEX users_email ON users (email);

-- A way back for who has lost their password: one at a time.
CREATE TABLE password_resets (
    user_id TEXT COLLATE "C" NOT NULL CONSTRAINT password_resets_user_id PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    token_hash BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX password_resets_token_hash ON password_resets (token_hash);

-- A way in for who is not there yet. Gone when it was used.
CREATE TABLE invitations (
    id TEXT COLLATE "C" NOT NULL CONSTRAINT invitations_id PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL,
    role TEXT NOT NULL,
    note TEXT,
    token_hash BYTEA NOT NULL,
    created_by TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX invitations_token_hash ON invitations (token_hash);
CREATE INDEX invitations_org_id ON invitations (org_id, id);
