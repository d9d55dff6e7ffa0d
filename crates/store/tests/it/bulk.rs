//! Many rows with one statement.

use serde_json::json;
use store::testing::TestStore;
use store::{Bulk, BulkColumn, ColumnType, Db, Existing, Json, Params, Statement, params};

store::on_every_engine! {
    many_rows_of_every_type_arrive,
    a_batch_can_be_sent_again,
    a_repeated_row_fails_the_whole_insert_unless_allowed,
    no_rows_are_no_work,
    a_row_of_the_wrong_width_is_refused,
}

const ROWS: Bulk = Bulk {
    table: "b",
    columns: &[
        BulkColumn::new("i", ColumnType::I64),
        BulkColumn::new("f", ColumnType::F64),
        BulkColumn::new("t", ColumnType::Text),
        BulkColumn::new("b", ColumnType::Bool),
        BulkColumn::new("j", ColumnType::Json),
        BulkColumn::new("y", ColumnType::Bytes),
    ],
    existing: Existing::Stays,
};

async fn table(store: &TestStore) -> Db {
    let db = store.open().await;
    let mut tx = db.write().await.unwrap();
    tx.execute(
        Statement::per_engine(
            "CREATE TABLE b (i BIGINT PRIMARY KEY, f DOUBLE PRECISION, t TEXT, b BOOLEAN, j TEXT, y BLOB)",
            "CREATE TABLE b (i BIGINT PRIMARY KEY, f DOUBLE PRECISION, t TEXT, b BOOLEAN, j JSONB, y BYTEA)",
        ),
        (),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    db
}

fn row(number: i64) -> Params {
    if number % 2 == 0 {
        params![
            number,
            None::<f64>,
            None::<String>,
            None::<bool>,
            None::<serde_json::Value>,
            None::<Vec<u8>>
        ]
    } else {
        params![
            number,
            2.0,
            "it's \"quoted\" \\ {1,2}\nü\0",
            true,
            json!({"k": [number, "x,y"]}),
            vec![0_u8, 200, 255]
        ]
    }
}

async fn insert(db: &Db, bulk: &Bulk, rows: &[Params]) -> Result<u64, store::StoreError> {
    let mut tx = db.write().await?;
    let stored = tx.insert_many(bulk, rows).await?;
    tx.commit().await?;
    Ok(stored)
}

async fn many_rows_of_every_type_arrive(store: TestStore) {
    let db = table(&store).await;
    let rows: Vec<_> = (0..1201).map(row).collect();
    assert_eq!(insert(&db, &ROWS, &rows).await.unwrap(), 1201);

    let mut tx = db.read().await.unwrap();
    let rows = tx
        .fetch_all("SELECT i, f, t, b, j, y FROM b ORDER BY i", ())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(rows.len(), 1201);
    assert_eq!(rows[1200].get::<Option<f64>>("f").unwrap(), None);
    assert_eq!(rows[1200].get::<Option<String>>("t").unwrap(), None);
    assert_eq!(rows[1200].get::<Option<bool>>("b").unwrap(), None);
    assert_eq!(rows[1200].get::<Option<Vec<u8>>>("y").unwrap(), None);
    let odd = &rows[1199];
    assert!((odd.get::<f64>("f").unwrap() - 2.0).abs() < f64::EPSILON);
    assert_eq!(
        odd.get::<String>("t").unwrap(),
        "it's \"quoted\" \\ {1,2}\nü\u{fffd}"
    );
    assert!(odd.get::<bool>("b").unwrap());
    assert_eq!(
        odd.get::<Json<serde_json::Value>>("j").unwrap().0,
        json!({"k": [1199, "x,y"]})
    );
    assert_eq!(odd.get::<Vec<u8>>("y").unwrap(), [0, 200, 255]);
}

async fn a_batch_can_be_sent_again(store: TestStore) {
    let db = table(&store).await;
    assert_eq!(insert(&db, &ROWS, &[row(1), row(2)]).await.unwrap(), 2);
    assert_eq!(
        insert(&db, &ROWS, &[row(1), row(2), row(3)]).await.unwrap(),
        1
    );
}

async fn a_repeated_row_fails_the_whole_insert_unless_allowed(store: TestStore) {
    let db = table(&store).await;
    let strict = Bulk {
        existing: Existing::Fails,
        ..ROWS
    };
    insert(&db, &strict, &[row(1)]).await.unwrap();
    let error = insert(&db, &strict, &[row(2), row(1)]).await.unwrap_err();
    assert!(
        matches!(error, store::StoreError::Conflict { .. }),
        "{error:?}"
    );
    assert_eq!(insert(&db, &strict, &[row(2)]).await.unwrap(), 1);
}

async fn no_rows_are_no_work(store: TestStore) {
    let db = table(&store).await;
    assert_eq!(insert(&db, &ROWS, &[]).await.unwrap(), 0);
}

async fn a_row_of_the_wrong_width_is_refused(store: TestStore) {
    let db = table(&store).await;
    assert!(insert(&db, &ROWS, &[row(1), params![2]]).await.is_err());
    assert_eq!(insert(&db, &ROWS, &[row(1)]).await.unwrap(), 1);
}
