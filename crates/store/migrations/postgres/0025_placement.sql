-- What is wanted of models: where, how many, and who sees to it. The model is its key: lower case, without ":latest".
CREATE TABLE placement_policies (
    model TEXT COLLATE "C" NOT NULL CONSTRAINT placement_policies_model PRIMARY KEY,
    name TEXT NOT NULL,
    mode TEXT NOT NULL,
    wanted JSONB NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
-- What is done about it: queued, running, done, failed or cancelled; ended_at from the end on. term is that of the duty whose holder
-- carries it out: nobody else writes. At most one of a kind for a model at a node has not ended.
CREATE TABLE placement_actions (
    id TEXT COLLATE "C" NOT NULL CONSTRAINT placement_actions_id PRIMARY KEY,
    kind TEXT NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    node_id TEXT COLLATE "C" NOT NULL,
    node_name TEXT NOT NULL,
    from_node TEXT,
    context BIGINT,
    cause TEXT NOT NULL,
    origin TEXT NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    why TEXT NOT NULL,
    effect TEXT NOT NULL,
    bytes BIGINT,
    done_bytes BIGINT NOT NULL,
    total_bytes BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    error TEXT,
    term BIGINT,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT
);
CREATE UNIQUE INDEX placement_actions_open ON placement_actions (node_id, model, kind) WHERE ended_at IS NULL;
CREATE INDEX placement_actions_ended_at ON placement_actions (ended_at) WHERE ended_at IS NOT NULL;
-- How much a model is used at a node: calls that have ended, and the time that they took, added up.
CREATE TABLE model_uses (
    model TEXT COLLATE "C" NOT NULL,
    node_id TEXT COLLATE "C" NOT NULL,
    requests BIGINT NOT NULL,
    busy_ms BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    CONSTRAINT model_uses_model_node_id PRIMARY KEY (model, node_id)
);
-- How many nodes beyond the least have a model in memory for the demand, and since when there is too much or too little to do.
CREATE TABLE placement_demand (
    model TEXT COLLATE "C" NOT NULL CONSTRAINT placement_demand_model PRIMARY KEY,
    extra BIGINT NOT NULL,
    high_since BIGINT,
    low_since BIGINT
);
