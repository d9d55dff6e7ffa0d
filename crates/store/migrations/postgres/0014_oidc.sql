-- Who somebody is at providers of identities. A person has one identity of each issuer, and each is one person's.
CREATE TABLE linked_identities (
    issuer TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    email TEXT,
    created_at BIGINT NOT NULL,
    last_sign_in_at BIGINT,
    CONSTRAINT linked_identities_issuer PRIMARY KEY (issuer, subject)
);
CREATE UNIQUE INDEX linked_identities_user_id ON linked_identities (user_id, issuer);

-- What a provider has just stated, for who holds the verifier. Gone when used.
CREATE TABLE sign_in_tickets (
    ticket_hash BYTEA NOT NULL CONSTRAINT sign_in_tickets_ticket_hash PRIMARY KEY,
    provider TEXT NOT NULL,
    challenge TEXT NOT NULL,
    statement TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sign_in_tickets_expires_at ON sign_in_tickets (expires_at);
