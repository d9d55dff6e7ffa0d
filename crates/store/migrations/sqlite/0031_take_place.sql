-- SQLite plans each statement once by itself.
SELECT 1;
