-- The other side follows by itself on SQLite.
SELECT 1;
