-- Releases of the agent's program. id is VERSION-TARGET; manifest is the signed text that says what the release is. What is uploaded
-- counts while upload is the name of that upload; the release can be given out from completed_at on.
CREATE TABLE agent_releases (
    id TEXT NOT NULL PRIMARY KEY,
    version TEXT NOT NULL,
    target TEXT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    update_key TEXT NOT NULL,
    manifest TEXT NOT NULL,
    upload TEXT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    completed_at BIGINT
);
CREATE TABLE agent_release_pieces (
    release_id TEXT NOT NULL REFERENCES agent_releases (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (release_id, number)
);
-- Staged roll-outs of a version to agents. stage counts from 0. state: running, paused, done, failed or aborted. version counts changes:
-- who writes names the one that they have read.
CREATE TABLE agent_rollouts (
    id TEXT NOT NULL PRIMARY KEY,
    agent_version TEXT NOT NULL,
    stages TEXT NOT NULL,
    hold_ms BIGINT NOT NULL,
    patience_ms BIGINT NOT NULL,
    state TEXT NOT NULL,
    stage BIGINT NOT NULL,
    reason TEXT,
    changed_by TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    ended_at BIGINT
);
-- Agents that were asked to take the version, in the stage in which that was. failed says why one did not.
CREATE TABLE agent_rollout_nodes (
    rollout_id TEXT NOT NULL REFERENCES agent_rollouts (id) ON DELETE CASCADE,
    node_id TEXT NOT NULL,
    node_name TEXT NOT NULL,
    stage BIGINT NOT NULL,
    failed TEXT,
    asked_at BIGINT NOT NULL,
    PRIMARY KEY (rollout_id, node_id)
);
