-- One-time codes by time. The secret is sealed; it counts once it is confirmed. A code works once: only steps after the last one count.
ALTER TABLE users ADD COLUMN totp_secret BYTEA;
ALTER TABLE users ADD COLUMN totp_confirmed_at BIGINT;
ALTER TABLE users ADD COLUMN totp_last_step BIGINT;

-- For who has lost their device. Gone when used.
CREATE TABLE recovery_codes (
    code_hash BYTEA NOT NULL CONSTRAINT recovery_codes_code_hash PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX recovery_codes_user_id ON recovery_codes (user_id);
