//! Both engines end up with the same tables, columns and indexes.

use std::collections::BTreeSet;

use store::testing::TestStore;
use store::{Db, Row};

#[tokio::test]
async fn both_engines_have_the_same_schema() {
    let (sqlite, postgres) = (TestStore::sqlite().await, TestStore::postgres().await);
    let (sqlite, postgres) = (sqlite.migrated().await, postgres.migrated().await);
    let mut columns = described(&sqlite, SQLITE_COLUMNS, column).await;
    // Partitions go by the time, which PostgreSQL wants in the primary key then.
    assert!(columns.remove("audit_log at bigint required "));
    columns.insert("audit_log at bigint required key".to_owned());
    assert_eq!(
        columns,
        described(&postgres, POSTGRES_COLUMNS, column).await
    );
    assert_eq!(
        described(&sqlite, SQLITE_INDEXES, index).await,
        described(&postgres, POSTGRES_INDEXES, index).await
    );
}

/// JSON is a checked text on SQLite, and a key of type `INTEGER` is the place of the row.
const SQLITE_COLUMNS: &str = "
    SELECT m.name AS t, c.name AS c,
           CASE WHEN m.sql LIKE '%json_valid(' || c.name || ')%' THEN 'jsonb'
                WHEN lower(c.type) = 'blob' THEN 'bytea'
                WHEN lower(c.type) = 'integer' THEN 'bigint'
                ELSE lower(c.type) END AS kind,
           CASE WHEN c.\"notnull\" THEN 'required' ELSE 'optional' END AS presence,
           CASE WHEN c.pk > 0 THEN 'key' ELSE '' END AS role
    FROM sqlite_master m, pragma_table_info(m.name) c
    WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'";

const POSTGRES_COLUMNS: &str = "
    SELECT CAST(c.table_name AS TEXT) AS t, CAST(c.column_name AS TEXT) AS c, CAST(c.data_type AS TEXT) AS kind,
           CASE WHEN c.is_nullable = 'NO' THEN 'required' ELSE 'optional' END AS presence,
           CASE WHEN EXISTS (
               SELECT 1 FROM information_schema.key_column_usage k
               JOIN information_schema.table_constraints n ON n.constraint_name = k.constraint_name
               WHERE n.constraint_type = 'PRIMARY KEY' AND k.table_name = c.table_name AND k.column_name = c.column_name
           ) THEN 'key' ELSE '' END AS role
    FROM information_schema.columns c WHERE c.table_schema = 'public'
        AND NOT (SELECT p.relispartition FROM pg_class p WHERE p.oid = to_regclass(c.table_name))";

const SQLITE_INDEXES: &str = "
    SELECT m.name AS t, i.name AS name, CASE WHEN i.\"unique\" THEN 'unique' ELSE '' END AS kind,
           (SELECT group_concat(name, ',') FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno)) AS columns
    FROM sqlite_master m, pragma_index_list(m.name) i
    WHERE m.type = 'table' AND i.origin = 'c'";

const POSTGRES_INDEXES: &str = "
    SELECT CAST(t.relname AS TEXT) AS t, CAST(i.relname AS TEXT) AS name,
           CASE WHEN x.indisunique THEN 'unique' ELSE '' END AS kind,
           (SELECT string_agg(CAST(a.attname AS TEXT), ',' ORDER BY k.n)
            FROM unnest(x.indkey) WITH ORDINALITY AS k(number, n)
            JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.number) AS columns
    FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
    JOIN pg_namespace s ON s.oid = t.relnamespace
    WHERE s.nspname = 'public' AND NOT x.indisprimary AND NOT t.relispartition";

fn text(row: &Row, columns: &[&str]) -> String {
    let values: Vec<String> = columns
        .iter()
        .map(|column| row.get(column).unwrap())
        .collect();
    values.join(" ")
}

fn column(row: &Row) -> String {
    text(row, &["t", "c", "kind", "presence", "role"])
}

fn index(row: &Row) -> String {
    text(row, &["t", "name", "kind", "columns"])
}

async fn described(db: &Db, sql: &'static str, describe: fn(&Row) -> String) -> BTreeSet<String> {
    let mut tx = db.read().await.unwrap();
    let rows = tx.fetch_all(sql, ()).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!rows.is_empty());
    rows.iter().map(describe).collect()
}
