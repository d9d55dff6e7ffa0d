//! Nodes that die, come back, hang or only seem to.

use identity::journal::Actor;
use std::time::Duration;

use remuda_cluster::CallFailure;
use serde_json::json;

use crate::bench::Bench;
use crate::server::{Reply, Server};

#[tokio::test]
async fn a_killed_node_becomes_unhealthy_and_comes_back() {
    let (_store, bench) = Bench::sqlite().await;
    let (victim, other) = (Server::ollama(&["m"]).await, Server::ollama(&["m"]).await);
    let address = victim.address();
    bench.add("victim", &victim.url()).await;
    bench.add("other", &other.url()).await;
    bench.watch();
    assert!(bench.registry.first_contact(Duration::from_secs(20)).await);
    victim.stop().await;
    bench.until_state("victim", "unhealthy").await;
    let node = bench.node("victim");
    assert!(!node.is_routable());
    let reason = node.state.reason().unwrap().to_owned();
    assert!(reason.contains("cannot connect"), "{reason}");
    assert_eq!(
        bench.get("/api/v1/nodes/victim").await["last_error"],
        reason
    );
    assert_eq!(bench.node("other").state.as_str(), "ready");
    let back = Server::start_at(address).await;
    back.speak_ollama(&["m", "n"]);
    bench
        .until("it is back with what it has now", |fleet| {
            fleet.find_node_named("victim").unwrap().is_routable()
                && !fleet.replicas("n").is_empty()
        })
        .await;
}

#[tokio::test]
async fn a_node_that_lists_but_never_generates_is_found_out() {
    let (_store, bench) = Bench::sqlite().await;
    let server = Server::ollama(&["m"]).await;
    server.set("/api/generate", Reply::Hang);
    let node = bench.add("hung", &server.url()).await;
    bench.watch();
    bench
        .registry
        .report_failure(node.id, "m", CallFailure::Unanswered);
    assert_eq!(
        bench.node("hung").state.as_str(),
        "ready",
        "one call proves nothing"
    );
    bench
        .registry
        .report_failure(node.id, "m", CallFailure::Unanswered);
    bench.until_state("hung", "unhealthy").await;
    let reason = bench.node("hung").state.reason().unwrap().to_owned();
    assert!(
        reason.contains("does not generate a single token"),
        "{reason}"
    );
    server.set_json("/api/generate", json!({"response": "1", "done": true}));
    bench.until_state("hung", "ready").await;
    let check = server.seen("/api/generate").pop().unwrap();
    assert_eq!(check.body["options"]["num_predict"], 1);
}

#[tokio::test]
async fn the_check_asks_an_embedding_model_for_a_vector() {
    let (_store, bench) = Bench::sqlite().await;
    let server = Server::ollama(&["nomic"]).await;
    server
        .set_json(
            "/api/show",
            json!({"model_info": {}, "capabilities": ["embedding"]}),
        )
        .set_json("/api/embed", json!({"embeddings": [[0.1]]}))
        .set("/api/generate", Reply::Hang);
    let node = bench.add("a", &server.url()).await;
    bench.watch();
    for _ in 0..2 {
        bench
            .registry
            .report_failure(node.id, "nomic", CallFailure::Unanswered);
    }
    assert_eq!(bench.node("a").state.as_str(), "suspect");
    assert!(bench.node("a").is_routable());
    bench.until_state("a", "ready").await;
    assert!(server.seen("/api/generate").is_empty());
    assert!(!server.seen("/api/embed").is_empty());
}

#[tokio::test]
async fn a_refused_connection_of_a_call_has_the_node_looked_at() {
    let (_store, bench) = Bench::sqlite().await;
    let (victim, other) = (Server::ollama(&["m"]).await, Server::ollama(&["m"]).await);
    let node = bench.add("victim", &victim.url()).await;
    bench.add("other", &other.url()).await;
    victim.stop().await;
    bench
        .registry
        .report_failure(node.id, "m", CallFailure::Connect);
    assert_eq!(bench.node("victim").state.as_str(), "suspect");
    bench
        .registry
        .report_failure(node.id, "m", CallFailure::Connect);
    assert_eq!(bench.node("victim").state.as_str(), "unhealthy");
    bench.registry.report_progress(node.id);
    bench
        .registry
        .report_failure(bench.node("other").id, "m", CallFailure::Unanswered);
    assert!(
        bench.node("victim").is_routable(),
        "an answer that makes progress proves life"
    );
}

#[tokio::test]
async fn when_most_nodes_die_at_once_they_stay_in_use() {
    let (_store, bench) = Bench::sqlite().await;
    let servers = [Server::ollama(&["m"]).await, Server::ollama(&["m"]).await];
    for (server, name) in servers.iter().zip(["a", "b"]) {
        bench.add(name, &server.url()).await;
    }
    bench.watch();
    for server in servers {
        server.stop().await;
    }
    bench
        .until("the doubt is about ourselves", |fleet| {
            fleet.nodes.iter().all(|node| {
                node.is_routable()
                    && node
                        .state
                        .reason()
                        .is_some_and(|reason| reason.contains("fault may be here"))
            })
        })
        .await;
}

#[tokio::test]
async fn requests_in_flight_outlive_the_removal_of_their_node() {
    let (_store, bench) = Bench::sqlite().await;
    let server = Server::ollama(&["m"]).await;
    let node = bench.add("a", &server.url()).await;
    let mut call = node.activity.begin(100);
    assert_eq!(bench.get("/api/v1/nodes/a").await["in_flight"], 1);
    bench
        .registry
        .remove_node("a", &Actor::system())
        .await
        .unwrap();
    call.done(40);
    assert_eq!(node.activity.queued_tokens(), 60);
    drop(call);
    assert_eq!(node.activity.in_flight(), 0);
}
