-- One engine for all deferred work. Kinds that the program registers for itself have neither an organisation nor an owner ('').
-- A lane is what is held apart within a kind: the model of an inference, the key of others; '-' where there is none. Lower priorities
-- go first. unique_key: at most one job of the kind with it has not ended.
ALTER TABLE jobs ADD COLUMN lane TEXT NOT NULL DEFAULT '-';
ALTER TABLE jobs ADD COLUMN priority BIGINT NOT NULL DEFAULT 3;
ALTER TABLE jobs ADD COLUMN unique_key TEXT;
UPDATE jobs SET lane = subject WHERE ended_at IS NULL AND subject <> '';
DROP INDEX jobs_live;
DROP INDEX jobs_org_id_owner_id;
CREATE INDEX jobs_queued ON jobs (kind, lane, priority, run_at, id) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (kind, lane, lease_until) WHERE state = 'running';
-- It says more than it has to, so that lists of an owner's jobs that have failed do not go by it.
CREATE INDEX jobs_dead ON jobs (kind, id) WHERE state = 'failed' AND ended_at IS NOT NULL;
CREATE UNIQUE INDEX jobs_unique_key ON jobs (kind, unique_key) WHERE ended_at IS NULL AND unique_key IS NOT NULL;
CREATE INDEX jobs_org_id_owner_id ON jobs (org_id, owner, id) WHERE owner <> '';
-- A kind that is paused is claimed by nobody. Whoever claims of a kind with limits over all processes locks its row.
CREATE TABLE job_kinds (
    kind TEXT NOT NULL PRIMARY KEY,
    paused_at BIGINT
);
-- How many were begun since window_at: of a kind (lane '') and of a lane.
CREATE TABLE job_rates (
    kind TEXT NOT NULL,
    lane TEXT NOT NULL,
    window_at BIGINT NOT NULL,
    taken BIGINT NOT NULL,
    PRIMARY KEY (kind, lane)
);
-- What came of jobs, by the minute.
CREATE TABLE job_counts (
    kind TEXT NOT NULL,
    minute BIGINT NOT NULL,
    completed BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    retried BIGINT NOT NULL,
    PRIMARY KEY (kind, minute)
);
-- Who moves next_at on enqueues the job: one process, whatever their number.
CREATE TABLE job_schedules (
    name TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    cron TEXT NOT NULL,
    zone TEXT NOT NULL,
    next_at BIGINT NOT NULL,
    last_at BIGINT
);
-- What one process does for all, until its lease ends. The term grows with each change of hands.
CREATE TABLE job_duties (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until BIGINT NOT NULL,
    term BIGINT NOT NULL
);
-- Files that were uploaded or made, in pieces: envelopes bound to file_pieces|content|ID|NUMBER.
CREATE TABLE files (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    purpose TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    pieces BIGINT NOT NULL,
    complete BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX files_org_id_owner_id ON files (org_id, owner, id);
CREATE INDEX files_expires_at ON files (expires_at);
CREATE TABLE file_pieces (
    file_id TEXT NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    content_sealed BLOB NOT NULL,
    PRIMARY KEY (file_id, number)
);
-- Many requests at once. A batch is carried out by the job of kind 'batch' whose unique key is its id.
CREATE TABLE batches (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    caller TEXT NOT NULL,
    client_address TEXT,
    endpoint TEXT NOT NULL,
    input_file TEXT NOT NULL,
    output_file TEXT,
    error_file TEXT,
    status TEXT NOT NULL,
    faults TEXT NOT NULL,
    metadata TEXT NOT NULL,
    total BIGINT NOT NULL,
    completed BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    in_progress_at BIGINT,
    finalizing_at BIGINT,
    cancelling_at BIGINT,
    ended_at BIGINT,
    expires_at BIGINT NOT NULL
);
CREATE INDEX batches_org_id_owner_id ON batches (org_id, owner, id);
CREATE INDEX batches_ended_at ON batches (ended_at) WHERE ended_at IS NOT NULL;
-- The lines of a batch: waiting, completed or failed. What is asked and answered are envelopes bound to
-- batch_lines|body|BATCH|NUMBER and batch_lines|answer|BATCH|NUMBER.
CREATE TABLE batch_lines (
    batch_id TEXT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    model TEXT NOT NULL,
    state TEXT NOT NULL,
    body_sealed BLOB,
    answer_sealed BLOB,
    PRIMARY KEY (batch_id, number)
);
CREATE INDEX batch_lines_waiting ON batch_lines (batch_id, model, number) WHERE state = 'waiting';
