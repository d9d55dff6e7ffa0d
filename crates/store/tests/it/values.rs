//! Every type of value comes back as it was stored.

use primitives::{NodeId, Timestamp};
use serde_json::json;
use store::testing::TestStore;
use store::{Db, Json, Row, StoreError, params};

store::on_every_engine! {
    every_type_survives,
    absent_values_of_every_type_survive,
    text_with_nul_is_stored_with_a_replacement,
    a_value_of_another_type_is_corrupt,
    json_is_reachable_by_one_sql_text,
}

async fn table(store: &TestStore) -> Db {
    let db = store.open().await;
    let mut tx = db.write().await.unwrap();
    tx.execute(
        store::Statement::per_engine(
            "CREATE TABLE v (i BIGINT, f DOUBLE PRECISION, t TEXT, b BOOLEAN, j TEXT CHECK (json_valid(j)), y BLOB)",
            "CREATE TABLE v (i BIGINT, f DOUBLE PRECISION, t TEXT, b BOOLEAN, j JSONB, y BYTEA)",
        ),
        (),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    db
}

async fn stored(db: &Db, values: store::Params) -> Row {
    let mut tx = db.write().await.unwrap();
    tx.execute(
        "INSERT INTO v (i, f, t, b, j, y) VALUES ($1, $2, $3, $4, $5, $6)",
        values,
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let mut tx = db.read().await.unwrap();
    let row = tx
        .fetch_optional("SELECT i, f, t, b, j, y FROM v", ())
        .await
        .unwrap()
        .unwrap();
    tx.commit().await.unwrap();
    row
}

async fn every_type_survives(store: TestStore) {
    let db = table(&store).await;
    let document = json!({"a": [1, 2.5, "ü", null, true]});
    let id = NodeId::generate(Timestamp::from_micros(1_000_000));
    let row = stored(
        &db,
        params![
            Timestamp::from_micros(i64::MAX),
            0.1,
            id,
            true,
            document.clone(),
            vec![0_u8, 255]
        ],
    )
    .await;
    assert_eq!(row.get::<Timestamp>("i").unwrap().as_micros(), i64::MAX);
    assert!((row.get::<f64>("f").unwrap() - 0.1).abs() < f64::EPSILON);
    assert_eq!(row.get::<NodeId>("t").unwrap(), id);
    assert!(row.get::<bool>("b").unwrap());
    assert_eq!(row.get::<Json<serde_json::Value>>("j").unwrap().0, document);
    assert_eq!(row.get::<Vec<u8>>("y").unwrap(), [0, 255]);
}

async fn absent_values_of_every_type_survive(store: TestStore) {
    let db = table(&store).await;
    let row = stored(
        &db,
        params![
            None::<i64>,
            None::<f64>,
            None::<String>,
            None::<bool>,
            None::<serde_json::Value>,
            None::<Vec<u8>>
        ],
    )
    .await;
    assert_eq!(row.get::<Option<i64>>("i").unwrap(), None);
    assert_eq!(row.get::<Option<f64>>("f").unwrap(), None);
    assert_eq!(row.get::<Option<String>>("t").unwrap(), None);
    assert_eq!(row.get::<Option<bool>>("b").unwrap(), None);
    assert_eq!(row.get::<Option<Json<Vec<i64>>>>("j").unwrap(), None);
    assert_eq!(row.get::<Option<Vec<u8>>>("y").unwrap(), None);
}

async fn text_with_nul_is_stored_with_a_replacement(store: TestStore) {
    let db = table(&store).await;
    let row = stored(
        &db,
        params![1, 1.0, "a\0b", false, json!({"k\0": ["c\0d"]}), vec![0_u8]],
    )
    .await;
    assert_eq!(row.get::<String>("t").unwrap(), "a\u{fffd}b");
    assert_eq!(
        row.get::<Json<serde_json::Value>>("j").unwrap().0,
        json!({"k\u{fffd}": ["c\u{fffd}d"]})
    );
}

async fn a_value_of_another_type_is_corrupt(store: TestStore) {
    let db = table(&store).await;
    let row = stored(
        &db,
        params![-1, 1.0, "no id", false, json!([1]), vec![0_u8]],
    )
    .await;
    let column = |result: Result<(), StoreError>| match result {
        Err(StoreError::Corrupt { column, .. }) => column,
        other => panic!("expected a corrupt value, got {other:?}"),
    };
    assert_eq!(column(row.get::<NodeId>("t").map(drop)), "t");
    assert_eq!(column(row.get::<u64>("i").map(drop)), "i");
    assert_eq!(column(row.get::<Json<Vec<String>>>("j").map(drop)), "j");
    assert!(row.get::<String>("y").is_err());
}

async fn json_is_reachable_by_one_sql_text(store: TestStore) {
    let db = table(&store).await;
    stored(
        &db,
        params![
            1,
            1.0,
            "x",
            false,
            json!({"n": 7, "s": "seven"}),
            vec![0_u8]
        ],
    )
    .await;
    let mut tx = db.read().await.unwrap();
    let row = tx
        .fetch_optional(
            "SELECT CAST(j->>'n' AS BIGINT) AS n, CAST(j->>'s' AS TEXT) AS s FROM v WHERE j->>'s' = $1",
            params!["seven"],
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.get::<i64>("n").unwrap(), 7);
    assert_eq!(row.get::<String>("s").unwrap(), "seven");
    tx.commit().await.unwrap();
}
