-- What names a person in a record of a change can be erased: its hash covers salted commitments to those values, which stand beside them
-- with their salts. Version 1: the hash covers the values themselves. Version 0: one of version 1 whose values were erased.
ALTER TABLE audit_log ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE audit_log ADD COLUMN commitments BLOB;
ALTER TABLE audit_log ADD COLUMN salts BLOB;

-- Lists of requests by model and by node. They are written in batches, so that the indexes cost little each.
CREATE INDEX requests_model_id ON requests (model, id);
CREATE INDEX requests_node_name_id ON requests (node_name, id);
