-- Staged roll-outs of new versions of models. model is the key of the name that clients ask for, old_model and new_model are the versions.
-- stage counts from 0 and is absent before the first one; share is that of the callers who get the new version, in hundredths of a
-- percent. state: running, paused, done, rolled_back or aborted. version counts changes: who writes names the one that they have read.
-- fault is errors or slow where it took itself back. A roll-out that has ended decides on until closed_at.
CREATE TABLE rollouts (
    id TEXT COLLATE "C" NOT NULL CONSTRAINT rollouts_id PRIMARY KEY,
    model TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    old_model TEXT COLLATE "C" NOT NULL,
    old_name TEXT NOT NULL,
    new_model TEXT COLLATE "C" NOT NULL,
    new_name TEXT NOT NULL,
    stages TEXT NOT NULL,
    hold_ms BIGINT NOT NULL,
    min_requests BIGINT NOT NULL,
    max_error_rate DOUBLE PRECISION NOT NULL,
    max_slower DOUBLE PRECISION,
    state TEXT NOT NULL,
    stage BIGINT,
    share BIGINT NOT NULL,
    node_id TEXT,
    entered_at BIGINT,
    reason TEXT,
    fault TEXT,
    changed_by TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    ended_at BIGINT,
    closed_at BIGINT
);
CREATE UNIQUE INDEX rollouts_open ON rollouts (model) WHERE closed_at IS NULL;
-- What came of requests in a stage: counts that every gateway adds to. version is old or new; kind is ok, failed or first_token, and bin
-- that of the time to the first token, 0 else.
CREATE TABLE rollout_counts (
    rollout_id TEXT COLLATE "C" NOT NULL,
    stage BIGINT NOT NULL,
    version TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    bin BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    CONSTRAINT rollout_counts_rollout_id_stage_version_kind_bin PRIMARY KEY (rollout_id, stage, version, kind, bin)
);
-- Some of the new version's requests that failed or were slow, the worst of each stage. kind is failed or slow.
CREATE TABLE rollout_requests (
    rollout_id TEXT COLLATE "C" NOT NULL,
    stage BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    weight BIGINT NOT NULL,
    CONSTRAINT rollout_requests_rollout_id_stage_kind_request_id PRIMARY KEY (rollout_id, stage, kind, request_id)
);
-- What a split chose for a request, and whether that was a roll-out's: absent without a split.
ALTER TABLE requests ADD COLUMN split JSONB;
