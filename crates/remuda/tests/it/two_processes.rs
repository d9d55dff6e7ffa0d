//! Two processes on one PostgreSQL: what one is told holds at the other.

use std::time::{Duration, Instant};

use serde_json::json;
use store::testing::TestStore;
use testbed::TestClient;

use crate::pair::{Pair, created};
use crate::service::until;

/// Asks again and again until the caller is known as wanted, and returns how long that took.
async fn until_answers(client: &TestClient, path: &str, status: u16) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    until(&format!("{path} answers {status}"), async || {
        Ok(client.get(path).await?.status == status)
    })
    .await?;
    Ok(begun.elapsed())
}

async fn what_one_process_takes_away_the_other_refuses(database: TestStore) -> anyhow::Result<()> {
    let pair = Pair::start(database, "").await?;
    let (here, there) = (&pair.here.admin, &pair.there.client);
    let key = created(here, "/api/v1/keys", json!({"name": "shared"})).await?;
    let secret = key["secret"].as_str().unwrap_or_default();
    let path = format!("/api/v1/keys/{}", key["id"].as_str().unwrap_or_default());
    let elsewhere = there.with_key(secret)?;
    let appeared = until_answers(&elsewhere, "/api/v1/me", 200).await?;
    let models = json!({"models": ["nothing"]}).to_string();
    here.send(http::Method::PATCH, &path, models.into()).await?;
    until("the change is in effect there", async || {
        let me = elsewhere.get("/api/v1/me").await?.json()?;
        Ok(me["models"] == json!(["nothing"]))
    })
    .await?;
    here.send(http::Method::DELETE, &path, "".into()).await?;
    let revoked = until_answers(&elsewhere, "/api/v1/me", 401).await?;
    // Inference goes by the same snapshot.
    assert_eq!(elsewhere.get("/v1/models").await?.status, 401);

    let body = json!({"username": "ann", "password": "a password of ann's"});
    let ann = created(here, "/api/v1/users", body.clone()).await?;
    let session = there.post("/api/v1/login", &body).await?.json()?;
    let token = session["access_token"].as_str().unwrap_or_default();
    let session = pair.here.client.with_key(token)?;
    until_answers(&session, "/api/v1/me", 200).await?;
    let sessions = format!(
        "/api/v1/users/{}/sessions",
        ann["id"].as_str().unwrap_or_default()
    );
    here.send(http::Method::DELETE, &sessions, "".into())
        .await?;
    let ended = until_answers(&there.with_key(token)?, "/api/v1/me", 401).await?;
    println!("known after {appeared:?}, revoked after {revoked:?}, session ended after {ended:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_takes_away_the_other_refuses_on_postgres() -> anyhow::Result<()> {
    what_one_process_takes_away_the_other_refuses(TestStore::postgres().await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_takes_away_the_other_refuses_through_pgbouncer() -> anyhow::Result<()> {
    what_one_process_takes_away_the_other_refuses(TestStore::pgbouncer().await).await
}
