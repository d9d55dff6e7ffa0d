-- SQLite plans a statement when it is prepared: there is nothing to change here.
SELECT 1;
