-- Lists of requests are read newest first along the primary key, whatever they are filtered by: no query has used these three, and
-- they cost most of what a record costs. The one on received_at serves retention.
DROP INDEX requests_model_received_at;
DROP INDEX requests_node_id_received_at;
DROP INDEX requests_outcome_received_at;
