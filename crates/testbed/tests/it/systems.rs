//! Whole systems start, serve what their nodes have, and find everything again.

use serde_json::json;
use testbed::{Answer, Flavour, ScriptedUpstream, System};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn system_serves_a_scripted_node_and_finds_its_data_after_a_restart() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let system = System::builder().node(&upstream).start().await.unwrap();
    system.until_models(&["test-model"]).await.unwrap();
    let body = json!({"model": "test-model", "messages": [{"role": "user", "content": "hello"}], "stream": false});
    let reply = system.client().post("/api/chat", &body).await.unwrap();
    assert_eq!(
        reply.json().unwrap()["message"]["content"],
        Answer::to("hello", None).text()
    );
    let key = system
        .admin()
        .await
        .unwrap()
        .post("/api/v1/keys", &json!({"name": "laptop"}))
        .await
        .unwrap();
    let secret = key.json().unwrap()["secret"].as_str().unwrap().to_owned();

    let system = system.restart().await.unwrap();
    let client = system.client().with_key(&secret).unwrap();
    assert_eq!(client.get("/v1/models").await.unwrap().status, 200);
    system.stop().await;
}
