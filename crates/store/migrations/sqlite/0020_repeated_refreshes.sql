-- The token that replaced a spent one, sealed: who refreshed and never heard the answer is answered the same again for a moment.
ALTER TABLE spent_refresh_tokens ADD COLUMN successor BLOB;
