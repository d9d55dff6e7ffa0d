-- Roles of an organisation's own: a name for a set of permissions. Whoever has one has `viewer` in users.role, which is what an older
-- build gives them.
CREATE TABLE roles (
    org_id TEXT NOT NULL REFERENCES organisations (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    description TEXT,
    permissions TEXT NOT NULL CHECK (json_valid(permissions)),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, name)
);
ALTER TABLE users ADD COLUMN custom_role TEXT;
CREATE INDEX users_custom_role ON users (org_id, custom_role);
