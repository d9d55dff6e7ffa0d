-- Whether an answer to a request of this key may serve an identical one of another key of its organisation. Only where asked for.
ALTER TABLE api_keys ADD COLUMN share_identical BOOLEAN NOT NULL DEFAULT FALSE;
