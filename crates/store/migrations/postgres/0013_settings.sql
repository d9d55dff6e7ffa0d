-- Settings that apply while the program runs. Each change is a version with all that is set then: the newest counts, an older one can
-- be gone back to.
CREATE TABLE setting_versions (
    version BIGINT NOT NULL CONSTRAINT setting_versions_version PRIMARY KEY,
    changed_at BIGINT NOT NULL,
    changed_by TEXT NOT NULL,
    differences JSONB NOT NULL,
    state JSONB NOT NULL
);
