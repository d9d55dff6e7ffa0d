-- What came of requests, by the hour and by the day (UTC). model, node and operation are '' where a request had none. The columns
-- with a time in their name count those whose first token, or whole answer, came within it.
CREATE TABLE request_statistics (
    span TEXT NOT NULL,
    starts_at BIGINT NOT NULL,
    model TEXT NOT NULL,
    node TEXT NOT NULL,
    operation TEXT NOT NULL,
    requests BIGINT NOT NULL,
    ok BIGINT NOT NULL,
    client_errors BIGINT NOT NULL,
    rejected BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    truncated BIGINT NOT NULL,
    retries BIGINT NOT NULL,
    continued BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    queue_us BIGINT NOT NULL,
    first_tokens BIGINT NOT NULL,
    first_token_us BIGINT NOT NULL,
    total_us BIGINT NOT NULL,
    first_100ms BIGINT NOT NULL,
    first_300ms BIGINT NOT NULL,
    first_1s BIGINT NOT NULL,
    first_3s BIGINT NOT NULL,
    first_10s BIGINT NOT NULL,
    first_30s BIGINT NOT NULL,
    total_300ms BIGINT NOT NULL,
    total_1s BIGINT NOT NULL,
    total_3s BIGINT NOT NULL,
    total_10s BIGINT NOT NULL,
    total_30s BIGINT NOT NULL,
    total_100s BIGINT NOT NULL,
    first_most_us BIGINT NOT NULL,
    total_most_us BIGINT NOT NULL,
    PRIMARY KEY (span, starts_at, model, node, operation)
);
-- The health and load of nodes by the minute, hour and day: means over the samples, but for what is called most. What a node does not tell is absent.
CREATE TABLE node_history (
    span TEXT NOT NULL,
    node_id TEXT NOT NULL,
    starts_at BIGINT NOT NULL,
    samples BIGINT NOT NULL,
    usable BIGINT NOT NULL,
    in_flight DOUBLE PRECISION NOT NULL,
    in_flight_most BIGINT NOT NULL,
    models_loaded DOUBLE PRECISION NOT NULL,
    cpu_percent DOUBLE PRECISION,
    memory_percent DOUBLE PRECISION,
    gpu_percent DOUBLE PRECISION,
    gpu_memory_percent DOUBLE PRECISION,
    gpu_celsius_most DOUBLE PRECISION,
    gpu_watts DOUBLE PRECISION,
    PRIMARY KEY (span, node_id, starts_at)
);
CREATE INDEX node_history_span_starts_at ON node_history (span, starts_at);
-- Who was erased lately: records of requests that were under way then lose name and address when they come. Ids alone.
CREATE TABLE erased_callers (
    caller_id TEXT NOT NULL PRIMARY KEY,
    erased_at BIGINT NOT NULL
);
