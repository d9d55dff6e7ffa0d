-- Who changed what, and from where. Each record's hash covers all its columns and the hash of the record before, so that none can be
-- changed, removed or put in between unnoticed. What was before and after is text, kept to the byte.
CREATE TABLE audit_log (
    seq BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    action TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id TEXT,
    actor_name TEXT NOT NULL,
    org_id TEXT,
    subject_kind TEXT NOT NULL,
    subject_id TEXT,
    ip TEXT,
    user_agent TEXT,
    old TEXT,
    new TEXT,
    hash BLOB NOT NULL
);
CREATE INDEX audit_log_org_id_seq ON audit_log (org_id, seq);
CREATE INDEX audit_log_actor_id_seq ON audit_log (actor_id, seq);
CREATE INDEX audit_log_subject_id_seq ON audit_log (subject_id, seq);
CREATE INDEX audit_log_action_seq ON audit_log (action, seq);
CREATE INDEX audit_log_at ON audit_log (at);
