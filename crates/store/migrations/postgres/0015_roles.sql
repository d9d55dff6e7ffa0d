-- Roles of an organisation's own: a name for a set of permissions. Whoever has one has `viewer` in users.role, which is what an older
-- build gives them.
CREATE TABLE roles (
    org_id TEXT COLLATE "C" NOT NULL REFERENCES organisations (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    description TEXT,
    permissions JSONB NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT roles_name PRIMARY KEY (org_id, name)
);
ALTER TABLE users ADD COLUMN custom_role TEXT COLLATE "C";
CREATE INDEX users_custom_role ON users (org_id, custom_role);
