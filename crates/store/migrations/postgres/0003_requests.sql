-- One row an inference call. Names are copied, not referenced: a record outlives its node and its key.
CREATE TABLE requests (
    id TEXT COLLATE "C" NOT NULL CONSTRAINT requests_id PRIMARY KEY,
    received_at BIGINT NOT NULL,
    principal_kind TEXT NOT NULL,
    principal_id TEXT,
    principal_name TEXT NOT NULL,
    client_address TEXT,
    dialect TEXT NOT NULL,
    operation TEXT NOT NULL,
    requested_model TEXT,
    model TEXT COLLATE "C",
    node_id TEXT COLLATE "C",
    node_name TEXT,
    status BIGINT NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    error TEXT,
    stream BOOLEAN NOT NULL,
    continued BIGINT NOT NULL,
    retries BIGINT NOT NULL,
    queue_us BIGINT NOT NULL,
    first_token_us BIGINT,
    total_us BIGINT NOT NULL,
    prompt_tokens BIGINT,
    completion_tokens BIGINT,
    policy TEXT,
    decision JSONB
);
CREATE INDEX requests_received_at ON requests (received_at);
CREATE INDEX requests_model_received_at ON requests (model, received_at);
CREATE INDEX requests_node_id_received_at ON requests (node_id, received_at);
CREATE INDEX requests_outcome_received_at ON requests (outcome, received_at);
