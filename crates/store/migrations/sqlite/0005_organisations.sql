-- Every person and every key belongs to one organisation. What was there before belongs to the first one, whose administrators
-- also administer the platform.
CREATE TABLE organisations (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX organisations_name ON organisations (name);
INSERT INTO organisations (id, name, created_at) VALUES ('00000000-0000-7000-8000-000000000001', 'default', 0);

ALTER TABLE users ADD COLUMN org_id TEXT NOT NULL DEFAULT '00000000-0000-7000-8000-000000000001';
CREATE INDEX users_org_id ON users (org_id, id);

-- Limits are stored with the key; whoever admits a request keeps them. Absent: none.
ALTER TABLE api_keys ADD COLUMN org_id TEXT NOT NULL DEFAULT '00000000-0000-7000-8000-000000000001';
ALTER TABLE api_keys ADD COLUMN priority TEXT;
ALTER TABLE api_keys ADD COLUMN requests_per_minute BIGINT;
ALTER TABLE api_keys ADD COLUMN tokens_per_minute BIGINT;
ALTER TABLE api_keys ADD COLUMN tokens_per_month BIGINT;
CREATE INDEX api_keys_org_id ON api_keys (org_id, id);
