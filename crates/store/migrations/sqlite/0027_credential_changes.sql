-- Which keys and sessions a counted change was about, so that replicas read these alone; an empty id: none of them. A change without a
-- row is about more.
CREATE TABLE credential_changes (
    generation BIGINT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (generation, id)
);
