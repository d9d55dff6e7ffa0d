//! Answers that are kept for a moment: what is changed is seen, here at once and elsewhere soon, by those who may see it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use store::testing::TestStore;
use testbed::{OwnServer, System, TestClient};

use crate::pair::{Pair, created};
use crate::service::until;

/// Answers good for longer than any test takes: only a change can have forgotten them.
const LASTING: &str = "[cache]\nttl = \"1h\"\n";

async fn list(client: &TestClient) -> anyhow::Result<(Value, String)> {
    let reply = client.get("/api/v1/users?limit=100").await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text());
    let mark = reply.headers.get("x-remuda-cache");
    let mark = mark.map_or("", |mark| mark.to_str().unwrap_or_default());
    Ok((reply.json()?, mark.to_owned()))
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    items
        .filter_map(|user| Some(user["username"].as_str()?.to_owned()))
        .collect()
}

fn person(name: &str) -> Value {
    json!({"username": name, "password": "a password of theirs"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_seen_by_the_next_read() -> anyhow::Result<()> {
    let system = System::builder().config(LASTING).start().await?;
    let admin = system.admin().await?;
    list(&admin).await?;
    let (_, mark) = list(&admin).await?;
    assert_eq!(mark, "hit");
    let ann = created(&admin, "/api/v1/users", person("ann")).await?;
    let (after, mark) = list(&admin).await?;
    assert_eq!(mark, "miss");
    assert!(names(&after).contains(&"ann".to_owned()));

    let path = format!("/api/v1/users/{}", ann["id"].as_str().unwrap_or_default());
    let shown = admin.get(&path).await?;
    let again = admin.get(&path).await?;
    assert_eq!(again.headers["x-remuda-cache"], "hit");
    assert_eq!(again.headers["etag"], shown.headers["etag"]);
    assert_eq!(again.body, shown.body);
    let edit = json!({"role": "viewer"}).to_string();
    let edited = admin.send(http::Method::PATCH, &path, edit.into()).await?;
    assert_eq!(edited.status, 200, "{}", edited.text());
    let after = admin.get(&path).await?;
    assert_eq!(after.json()?["role"], "viewer");
    assert_ne!(after.headers["etag"], shown.headers["etag"]);
    // A change that comes another way.
    let body = json!({"query": "mutation { createUser(input: {username: \"bob\", password: \"a password of bob's\"}) { id } }"});
    let made = admin.post("/api/v1/graphql", &body).await?;
    assert_eq!(made.status, 200, "{}", made.text());
    let (after, _) = list(&admin).await?;
    assert!(names(&after).contains(&"bob".to_owned()), "{after}");
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_what_was_kept_for_another() -> anyhow::Result<()> {
    let system = System::builder().config(LASTING).start().await?;
    let admin = system.admin().await?;
    let lab = created(&admin, "/api/v1/organisations", json!({"name": "lab"})).await?;
    let mut body = person("lab-admin");
    body["role"] = json!("admin");
    body["org_id"] = lab["id"].clone();
    let made = created(&admin, "/api/v1/users", body).await?;
    let sign_in = person("lab-admin");
    let signed_in = system.client().post("/api/v1/login", &sign_in).await?;
    let signed_in = signed_in.json()?;
    let token = signed_in["access_token"].as_str().unwrap_or_default();
    let of_lab = system.client().with_key(token)?;
    for _ in 0..2 {
        let (all, _) = list(&admin).await?;
        assert_eq!(names(&all).len(), 2);
        let (own, _) = list(&of_lab).await?;
        assert_eq!(names(&own), ["lab-admin"]);
        let nobody = system.client().get("/api/v1/users?limit=100").await?;
        assert_eq!(nobody.status, 401);
    }
    // A right that is taken away takes its answers with it. The last administrator would keep theirs.
    let mut other = person("other-admin");
    other["role"] = json!("admin");
    other["org_id"] = lab["id"].clone();
    created(&admin, "/api/v1/users", other).await?;
    let path = format!("/api/v1/users/{}", made["id"].as_str().unwrap_or_default());
    let edit = json!({"role": "user"}).to_string();
    let edited = admin.send(http::Method::PATCH, &path, edit.into()).await?;
    assert_eq!(edited.status, 200, "{}", edited.text());
    let refused = of_lab.get("/api/v1/users?limit=100").await?;
    assert_eq!(refused.status, 403, "{}", refused.text());
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_changes_another_forgets() -> anyhow::Result<()> {
    let mut redis = OwnServer::redis()?;
    for store in ["memory", "redis"] {
        let config = format!("[cache]\nttl = \"1h\"\nstore = \"{store}\"\n");
        let pair = Pair::sharing(TestStore::postgres().await, &redis, &config).await?;
        until("the answer is kept there", async || {
            Ok(list(&pair.there.admin).await?.1 == "hit")
        })
        .await?;
        created(&pair.here.admin, "/api/v1/users", person("ann")).await?;
        let begun = Instant::now();
        until("the change is seen there", async || {
            Ok(names(&list(&pair.there.admin).await?.0).contains(&"ann".to_owned()))
        })
        .await?;
        println!("{store}: seen there after {:?}", begun.elapsed());
    }

    let pair = Pair::sharing(TestStore::postgres().await, &redis, LASTING).await?;
    until("the answer is kept there", async || {
        Ok(list(&pair.there.admin).await?.1 == "hit")
    })
    .await?;
    redis.stop("KILL")?;
    pair.there.until_health("redis", false).await?;
    // Who may miss changes keeps nothing.
    until("nothing is kept there", async || {
        Ok(list(&pair.there.admin).await?.1.is_empty())
    })
    .await?;
    created(&pair.here.admin, "/api/v1/users", person("bob")).await?;
    let (seen, _) = list(&pair.there.admin).await?;
    assert!(names(&seen).contains(&"bob".to_owned()), "{seen}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_a_change_is_seen_within_a_second() -> anyhow::Result<()> {
    let pair = Pair::start(TestStore::postgres().await, LASTING).await?;
    list(&pair.there.admin).await?;
    created(&pair.here.admin, "/api/v1/users", person("ann")).await?;
    let begun = Instant::now();
    until("the change is seen there", async || {
        Ok(names(&list(&pair.there.admin).await?.0).contains(&"ann".to_owned()))
    })
    .await?;
    // As seen from outside, on a machine that does other things as well.
    assert!(begun.elapsed() < Duration::from_secs(10));
    let hits = "remuda_cache_lookups_total{resource=\"users\",outcome=\"miss\"}";
    assert!(pair.there.metric(hits).await? >= 2);
    Ok(())
}
