//! Replacing the key that seals secrets.

use http::Method;
use serde_json::json;
use store::testing::TestStore;
use store::{SealError, Sealer};

use crate::app::{PASSWORD, TestApp};

store::on_every_engine! {
    everything_is_sealed_anew_while_it_is_used,
}

async fn everything_is_sealed_anew_while_it_is_used(store: TestStore) {
    let app = TestApp::start(&store).await;
    // Nothing listens there: the node is added with a warning.
    let node = json!({"name": "n", "url": "http://127.0.0.1:9", "api_key": "sesame"});
    assert_eq!(
        app.call(Method::POST, "/api/v1/nodes", node).await.status,
        201
    );
    let begin = json!({"password": PASSWORD});
    let totp = app.call(Method::POST, "/api/v1/me/totp", begin).await;
    assert_eq!(totp.status, 201, "{}", totp.body);
    let sealed = async || {
        let mut tx = app.db.read().await.unwrap();
        let mut all: Vec<Vec<u8>> = Vec::new();
        for sql in [
            "SELECT credential_sealed AS sealed FROM nodes",
            "SELECT totp_secret AS sealed FROM users WHERE totp_secret IS NOT NULL",
            "SELECT private_key AS sealed FROM signing_keys",
        ] {
            let rows = tx.fetch_all(sql, ()).await.unwrap();
            assert!(!rows.is_empty(), "{sql}");
            all.extend(rows.iter().map(|row| row.get("sealed").unwrap()));
        }
        tx.commit().await.unwrap();
        all
    };
    let before = sealed().await;
    let first_key = std::fs::read_to_string(&app.key_file).unwrap();
    let rotate = async || {
        app.call(Method::POST, "/api/v1/system/secrets/rotate", json!(null))
            .await
    };
    let rotated = rotate().await;
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    assert_ne!(rotated.body["key_id"], rotated.body["previous_key_id"]);
    assert_eq!(rotated.body["resealed"], before.len());
    assert_eq!(rotated.body["unreadable"], 0);
    let after = sealed().await;
    for (old, new) in before.iter().zip(&after) {
        assert!(app.sealer.is_outdated(old));
        assert!(!app.sealer.is_outdated(new));
    }
    // Who is signed in stays so, and a process that starts now opens everything.
    assert_eq!(app.get("/api/v1/me").await.status, 200);
    let restarted = app.another(&store).await;
    assert_eq!(restarted.get("/api/v1/me").await.status, 200);
    let credential = restarted
        .registry
        .load_node("n")
        .unwrap()
        .credential
        .clone();
    assert_eq!(credential.unwrap().expose(), "sesame");
    // The key of the time before last opens nothing any more.
    assert_eq!(rotate().await.body["resealed"], before.len());
    let lines = std::fs::read_to_string(&app.key_file).unwrap();
    assert_eq!(lines.lines().count(), 2);
    assert!(!lines.contains(first_key.trim()));
    let present = Sealer::open_file(&app.key_file).unwrap();
    let place = format!(
        "nodes|credential|{}",
        restarted.registry.load_node("n").unwrap().id
    );
    assert!(matches!(
        present.open(&place, &before[0]),
        Err(SealError::OtherKey)
    ));
    let audit = app.get("/api/v1/audit?action=secrets.rotate").await;
    assert_eq!(audit.body["total"], 2);
    assert!(!audit.body.to_string().contains("sesame"));
}
