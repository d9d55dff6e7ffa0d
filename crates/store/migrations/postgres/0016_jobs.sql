-- Work that is carried out whatever happens to the process meanwhile. A job is queued, running, completed, failed or cancelled; it has
-- ended_at from its end on. Who runs it holds a lease: leased_by names the run, and only that run writes. The payload and the result are
-- envelopes of store::Sealer, bound to jobs|payload|ID and jobs|result|ID; the payload goes with the end.
CREATE TABLE jobs (
    id TEXT COLLATE "C" NOT NULL CONSTRAINT jobs_id PRIMARY KEY,
    kind TEXT NOT NULL,
    org_id TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    caller TEXT NOT NULL,
    client_address TEXT,
    subject TEXT COLLATE "C" NOT NULL,
    class TEXT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    payload_sealed BYTEA,
    result_sealed BYTEA,
    error TEXT,
    error_kind TEXT,
    request_id TEXT,
    created_at BIGINT NOT NULL,
    run_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT,
    attempt BIGINT NOT NULL,
    most_attempts BIGINT NOT NULL,
    lease_until BIGINT,
    leased_by TEXT,
    chunks BIGINT NOT NULL
);
CREATE INDEX jobs_live ON jobs (state, run_at, id) WHERE ended_at IS NULL;
CREATE INDEX jobs_ended_at ON jobs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX jobs_org_id_owner_id ON jobs (org_id, owner, id);
-- What a job has put out so far, in pieces numbered from 1 over the whole job: envelopes bound to job_chunks|output|ID|NUMBER.
CREATE TABLE job_chunks (
    job_id TEXT COLLATE "C" NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    output_sealed BYTEA NOT NULL,
    CONSTRAINT job_chunks_job_id_number PRIMARY KEY (job_id, number)
);
