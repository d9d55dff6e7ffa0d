//! Databases for tests are fresh and reachable both ways.

use testbed::database::{PostgresDatabase, SqliteDatabase};

#[test]
fn postgres_databases_are_separate_and_reachable_through_pgbouncer() {
    let one = PostgresDatabase::fresh().unwrap();
    let other = PostgresDatabase::fresh().unwrap();
    one.sql("CREATE TABLE t (x BIGINT)").unwrap();
    assert_eq!(
        one.sql("SELECT count(*) FROM pg_tables WHERE tablename = 't'")
            .unwrap(),
        "1"
    );
    assert_eq!(
        other
            .sql("SELECT count(*) FROM pg_tables WHERE tablename = 't'")
            .unwrap(),
        "0"
    );
    assert_eq!(
        one.pooled_sql("SELECT count(*) FROM pg_tables WHERE tablename = 't'")
            .unwrap(),
        "1"
    );
}

#[test]
fn sqlite_directory_goes_with_its_database() {
    let database = SqliteDatabase::fresh().unwrap();
    let directory = database.directory().to_owned();
    assert!(directory.exists());
    assert!(!database.path().exists());
    drop(database);
    assert!(!directory.exists());
}
