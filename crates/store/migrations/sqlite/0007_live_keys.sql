-- Keys that work are counted whenever one is made, and looked up by their owner and name.
CREATE INDEX api_keys_live ON api_keys (org_id) WHERE revoked_at IS NULL;
DROP INDEX api_keys_user_id;
CREATE INDEX api_keys_user_id_name ON api_keys (user_id, name);
