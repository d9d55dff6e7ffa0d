//! Nodes of the configuration file, on every engine.

use http::{Method, StatusCode};
use identity::journal::Actor;
use primitives::{Classify as _, ErrorKind};
use remuda_cluster::{ConfigSync, NodeSpec};
use serde_json::json;
use store::testing::TestStore;

use crate::bench::Bench;
use crate::server::Server;

store::on_every_engine!(
    the_stored_nodes_follow_the_file,
    an_address_found_on_this_machine_is_adopted
);

async fn the_stored_nodes_follow_the_file(store: TestStore) {
    let bench = Bench::open(&store).await;
    let manual = Server::ollama(&["m"]).await;
    bench.add("manual", &manual.url()).await;
    let spec = |name: &str, port: u16| NodeSpec::new(name, format!("http://127.0.0.1:{port}"));
    let first = bench
        .registry
        .sync_config(vec![spec("a", 1), spec("b", 2)])
        .await
        .unwrap();
    assert_eq!(first.added, ["a", "b"]);
    let again = bench
        .registry
        .sync_config(vec![spec("a", 1), spec("b", 2)])
        .await
        .unwrap();
    assert_eq!(
        again,
        ConfigSync::default(),
        "nothing changes when the file does not"
    );

    let a = bench.node("a").id;
    bench.registry.drain_node("a").await.unwrap();
    let (status, problem) = bench
        .call(Method::PUT, "/api/v1/nodes/a", Some(json!({"weight": 2.0})))
        .await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("configuration file"),
        "{problem}"
    );
    let (status, _) = bench.call(Method::DELETE, "/api/v1/nodes/a", None).await;
    assert_eq!(status, StatusCode::CONFLICT);

    let changed = bench
        .registry
        .sync_config(vec![spec("a", 3), spec("manual", 4)])
        .await
        .unwrap();
    assert_eq!(changed.updated, ["a"]);
    assert_eq!(changed.removed, ["b"]);
    assert_eq!(changed.taken_over, ["manual"]);
    let node = bench.node("a");
    assert_eq!(
        (node.id, node.draining),
        (a, true),
        "it stays the same node, and drains on"
    );
    assert_eq!(node.url.as_ref().unwrap().port(), 3);
    bench.registry.sync_config(Vec::new()).await.unwrap();
    assert!(bench.registry.snapshot().nodes.is_empty());
    bench.stop().await;
}

async fn an_address_found_on_this_machine_is_adopted(store: TestStore) {
    let server = Server::ollama(&["m"]).await;
    let vllm = Server::vllm("n").await;
    let bench = Bench::open(&store).await;
    let by_name = format!("http://localhost:{}", server.address().port());
    let candidates = [
        server.url().parse().unwrap(),
        by_name.parse().unwrap(),
        vllm.url().parse().unwrap(),
    ];
    let adopted = bench.registry.adopt_local(&candidates).await.unwrap();
    assert_eq!(adopted.len(), 1, "one server, and only Ollama");
    assert_eq!(
        (&*adopted[0].name, adopted[0].source.as_str()),
        ("ollama", "discovered")
    );
    assert!(
        bench
            .registry
            .adopt_local(&candidates)
            .await
            .unwrap()
            .is_empty()
    );
    bench
        .registry
        .remove_node("ollama", &Actor::system())
        .await
        .unwrap();
    bench.stop().await;
    let bench = Bench::open(&store).await;
    let adopted = bench.registry.adopt_local(&candidates[..1]).await.unwrap();
    assert!(adopted.is_empty(), "a person removed it");
    bench.stop().await;
}

#[tokio::test]
async fn mistakes_in_the_file_name_the_node() {
    let (_store, bench) = Bench::sqlite().await;
    let refuse = async |specs| {
        let error = bench.registry.sync_config(specs).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.public_message()
    };
    let message = refuse(vec![NodeSpec::new("a", "ftp://x")]).await;
    assert!(
        message.contains("[[nodes]] \"a\"") && message.contains("http"),
        "{message}"
    );
    let twice = vec![
        NodeSpec::new("a", "http://x"),
        NodeSpec::new("a", "http://y"),
    ];
    assert!(refuse(twice).await.contains("twice"));
    let same_place = vec![
        NodeSpec::new("a", "http://x"),
        NodeSpec::new("b", "http://x/v1"),
    ];
    assert!(refuse(same_place).await.contains("twice"));
    assert!(
        bench.registry.snapshot().nodes.is_empty(),
        "nothing is done by halves"
    );
}
