-- Requests that a client named, so that sending one again has no second effect. The answer may hold secrets: it is an envelope of
-- store::Sealer, bound to idempotency_keys|answer|CALLER|NAME; absent while the request is under way.
CREATE TABLE idempotency_keys (
    caller TEXT NOT NULL,
    name TEXT NOT NULL,
    request_hash BLOB NOT NULL,
    begun_at BIGINT NOT NULL,
    answer_sealed BLOB,
    PRIMARY KEY (caller, name)
);
CREATE INDEX idempotency_keys_begun_at ON idempotency_keys (begun_at);
