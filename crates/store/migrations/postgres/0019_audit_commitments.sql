-- What names a person in a record of a change can be erased: its hash covers salted commitments to those values, which stand beside them
-- with their salts. Version 1: the hash covers the values themselves. Version 0: one of version 1 whose values were erased.
ALTER TABLE audit_log ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE audit_log ADD COLUMN commitments BYTEA;
ALTER TABLE audit_log ADD COLUMN salts BYTEA;

-- A partition a month, made ahead and dropped when it is past its retention. What was there before is the first one, as it is; what has no
-- partition goes into the last one.
ALTER TABLE audit_log RENAME TO audit_log_before;
ALTER TABLE audit_log_before DROP CONSTRAINT audit_log_seq;
ALTER TABLE audit_log_before ADD CONSTRAINT audit_log_before_seq PRIMARY KEY (seq, at);
ALTER INDEX audit_log_org_id_seq RENAME TO audit_log_before_org_id_seq;
ALTER INDEX audit_log_actor_id_seq RENAME TO audit_log_before_actor_id_seq;
ALTER INDEX audit_log_subject_id_seq RENAME TO audit_log_before_subject_id_seq;
ALTER INDEX audit_log_action_seq RENAME TO audit_log_before_action_seq;
ALTER INDEX audit_log_at RENAME TO audit_log_before_at;
CREATE TABLE audit_log (
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id TEXT COLLATE "C",
    actor_name TEXT NOT NULL,
    org_id TEXT COLLATE "C",
    subject_kind TEXT NOT NULL,
    subject_id TEXT COLLATE "C",
    ip TEXT,
    user_agent TEXT,
    old TEXT,
    new TEXT,
    hash BYTEA NOT NULL,
    version BIGINT NOT NULL DEFAULT 1,
    commitments BYTEA,
    salts BYTEA,
    CONSTRAINT audit_log_seq PRIMARY KEY (seq, at)
) PARTITION BY RANGE (at);
CREATE INDEX audit_log_org_id_seq ON audit_log (org_id, seq);
CREATE INDEX audit_log_actor_id_seq ON audit_log (actor_id, seq);
CREATE INDEX audit_log_subject_id_seq ON audit_log (subject_id, seq);
CREATE INDEX audit_log_action_seq ON audit_log (action, seq);
CREATE INDEX audit_log_at ON audit_log (at);
DO $$
DECLARE
    edge TEXT;
BEGIN
    edge := CAST(EXTRACT(EPOCH FROM date_trunc('month', now() AT TIME ZONE 'UTC') + INTERVAL '1 month') * 1000000 AS BIGINT);
    EXECUTE 'ALTER TABLE audit_log ATTACH PARTITION audit_log_before FOR VALUES FROM (MINVALUE) TO (' || edge || ')';
END $$;
CREATE TABLE audit_log_after PARTITION OF audit_log DEFAULT;

-- Lists of requests by model and by node. They are written in batches, so that the indexes cost little each.
CREATE INDEX requests_model_id ON requests (model, id);
CREATE INDEX requests_node_name_id ON requests (node_name, id);
