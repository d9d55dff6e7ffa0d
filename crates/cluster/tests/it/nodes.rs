//! Nodes through the real routes, on every engine.

use http::{Method, StatusCode};
use identity::journal::Actor;
use serde_json::json;
use store::testing::TestStore;

use crate::bench::Bench;
use crate::server::Server;

store::on_every_engine!(
    a_restart_finds_everything_again,
    what_is_taken_is_refused,
    an_edit_changes_what_it_names,
    a_node_added_elsewhere_appears_here,
    an_edit_here_leaves_a_drain_elsewhere_alone,
);

async fn a_restart_finds_everything_again(store: TestStore) {
    let server = Server::ollama(&["m"]).await;
    server.require_key("sesame");
    let bench = Bench::open(&store).await;
    let body = json!({"name": "gpu1", "url": server.url(), "api_key": "sesame", "tags": ["gpu", "attic"],
        "region": "attic", "weight": 2.5, "max_in_flight": 7});
    let (status, added) = bench.call(Method::POST, "/api/v1/nodes", Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{added}");
    assert_eq!(
        (&added["kind"], &added["model_count"]),
        (&json!("ollama"), &json!(1))
    );
    assert_eq!(added["has_api_key"], true);
    assert!(!added.to_string().contains("sesame"));
    let (status, drained) = bench
        .call(Method::POST, "/api/v1/nodes/gpu1/drain", None)
        .await;
    assert_eq!(
        (status, &drained["state"]),
        (StatusCode::OK, &json!("draining"))
    );
    bench.stop().await;

    let bench = Bench::open(&store).await;
    let found = bench.get("/api/v1/nodes/gpu1").await;
    for field in [
        "id",
        "name",
        "url",
        "tags",
        "region",
        "weight",
        "max_in_flight",
        "source",
        "created_at",
    ] {
        assert_eq!(found[field], added[field], "{field}");
    }
    assert_eq!(found["draining"], true);
    let node = bench.node("gpu1");
    assert_eq!(node.credential.as_ref().unwrap().expose(), "sesame");
    assert!(!node.is_routable());
    bench.watch();
    bench
        .until("its models are learned", |fleet| {
            !fleet.replicas("m").is_empty()
        })
        .await;
    bench
        .call(Method::POST, "/api/v1/nodes/gpu1/undrain", None)
        .await;
    assert!(bench.node("gpu1").is_routable());
    bench.stop().await;
}

async fn what_is_taken_is_refused(store: TestStore) {
    let bench = Bench::open(&store).await;
    let (one, two) = (Server::ollama(&["m"]).await, Server::ollama(&["m"]).await);
    bench.add("one", &one.url()).await;
    let post = async |body| {
        let (status, problem) = bench.call(Method::POST, "/api/v1/nodes", Some(body)).await;
        (
            status.as_u16(),
            problem["detail"].as_str().unwrap().to_owned(),
        )
    };
    let (status, detail) = post(json!({"name": "one", "url": two.url()})).await;
    assert_eq!(
        (status, detail.contains("choose another name")),
        (409, true),
        "{detail}"
    );
    let (status, detail) = post(json!({"name": "two", "url": format!("{}/v1", one.url())})).await;
    assert_eq!(
        (status, detail.contains("\"one\" already")),
        (409, true),
        "{detail}"
    );
    let (status, detail) = post(json!({"name": "two", "url": "ftp://x"})).await;
    assert_eq!((status, detail.contains("http")), (400, true), "{detail}");
    let (status, detail) = post(json!({"name": "two", "url": two.url(), "wieght": 2})).await;
    assert_eq!((status, detail.contains("wieght")), (400, true), "{detail}");
    let (status, problem) = bench
        .call(Method::DELETE, "/api/v1/nodes/three", None)
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
    bench.stop().await;
}

async fn an_edit_changes_what_it_names(store: TestStore) {
    let bench = Bench::open(&store).await;
    let (old, new) = (Server::ollama(&["old"]).await, Server::vllm("new").await);
    let node = bench.add("a", &old.url()).await;
    let path = format!("/api/v1/nodes/{}", node.id);
    let (status, edited) = bench
        .call(
            Method::PUT,
            &path,
            Some(json!({"tags": ["fast"], "weight": 3.0})),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{edited}");
    assert_eq!(
        (&edited["tags"], &edited["weight"]),
        (&json!(["fast"]), &json!(3.0))
    );
    assert_eq!(edited["models"][0]["name"], "old", "what was learned stays");
    let (_, moved) = bench
        .call(
            Method::PUT,
            &path,
            Some(json!({"name": "b", "url": new.url()})),
        )
        .await;
    assert_eq!(
        (&moved["kind"], &moved["models"][0]["name"]),
        (&json!("openai"), &json!("new"))
    );
    assert!(bench.registry.snapshot().replicas("old").is_empty());
    assert_eq!(
        bench.get("/api/v1/nodes/b").await["id"],
        node.id.to_string()
    );
    let (status, _) = bench.call(Method::DELETE, "/api/v1/nodes/b", None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = bench.call(Method::GET, &path, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    bench.stop().await;
}

async fn an_edit_here_leaves_a_drain_elsewhere_alone(store: TestStore) {
    let there = Bench::open(&store).await;
    let server = Server::ollama(&["m"]).await;
    there.add("a", &server.url()).await;
    // Not watching, so it does not learn of the drain.
    let here = Bench::open(&store).await;
    there.registry.drain_node("a").await.unwrap();
    let (status, _) = here
        .call(Method::PUT, "/api/v1/nodes/a", Some(json!({"weight": 2.0})))
        .await;
    assert_eq!(status, StatusCode::OK);
    let later = Bench::open(&store).await;
    let node = later.node("a");
    assert_eq!((node.draining, node.weight), (true, 2.0));
    here.registry
        .undrain_node("a", &Actor::system())
        .await
        .unwrap();
    let last = Bench::open(&store).await;
    assert!(!last.node("a").draining);
    for bench in [there, here, later, last] {
        bench.stop().await;
    }
}

async fn a_node_added_elsewhere_appears_here(store: TestStore) {
    let here = Bench::open(&store).await;
    let there = Bench::open(&store).await;
    here.watch();
    let server = Server::ollama(&["m"]).await;
    there.add("shared", &server.url()).await;
    here.until("the node and its model are known here", |fleet| {
        !fleet.replicas("m").is_empty()
    })
    .await;
    there.registry.drain_node("shared").await.unwrap();
    here.until_state("shared", "draining").await;
    there
        .registry
        .remove_node("shared", &Actor::system())
        .await
        .unwrap();
    here.until("the node is gone here", |fleet| fleet.nodes.is_empty())
        .await;
    there.stop().await;
    here.stop().await;
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let (_store, bench) = Bench::sqlite().await;
    let (ollama, vllm) = (Server::ollama(&["m"]).await, Server::vllm("n").await);
    bench.add("a", &ollama.url()).await;
    bench.add("b", &vllm.url()).await;
    bench.registry.drain_node("b").await.unwrap();
    let names = async |query: &str| {
        let page = bench.get(&format!("/api/v1/nodes{query}")).await;
        let items = page["items"].as_array().unwrap().clone();
        let names: Vec<String> = items
            .iter()
            .map(|n| n["name"].as_str().unwrap().to_owned())
            .collect();
        (names, page["next_cursor"].as_str().map(str::to_owned))
    };
    assert_eq!(names("").await.0, ["a", "b"]);
    assert_eq!(names("?kind=openai").await.0, ["b"]);
    assert_eq!(names("?state=ready").await.0, ["a"]);
    assert_eq!(names("?tag=gpu").await.0, Vec::<String>::new());
    let (first, cursor) = names("?limit=1").await;
    let (second, end) = names(&format!("?limit=1&cursor={}", cursor.unwrap())).await;
    assert_eq!(
        (first, second, end),
        (vec!["a".to_owned()], vec!["b".to_owned()], None)
    );
    let (status, problem) = bench
        .call(Method::GET, "/api/v1/nodes?state=happy", None)
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
}

#[tokio::test]
async fn only_administrators_may_see_or_change_nodes() {
    let (_store, bench) = Bench::sqlite().await;
    for (method, path) in [
        (Method::GET, "/api/v1/nodes"),
        (Method::POST, "/api/v1/nodes"),
        (Method::GET, "/api/v1/nodes/a"),
        (Method::PUT, "/api/v1/nodes/a"),
        (Method::DELETE, "/api/v1/nodes/a"),
        (Method::POST, "/api/v1/nodes/a/drain"),
        (Method::POST, "/api/v1/nodes/a/undrain"),
        (Method::GET, "/api/v1/models"),
    ] {
        for token in [None, Some("rms_wrong")] {
            let (status, _) = bench.call_as(token, method.clone(), path, None).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn models_of_all_nodes_are_listed_once_with_their_replicas() {
    let (_store, bench) = Bench::sqlite().await;
    let one = Server::ollama(&["shared:latest", "alone"]).await;
    let two = Server::ollama(&["Shared"]).await;
    bench.add("one", &one.url()).await;
    bench.add("two", &two.url()).await;
    let page = bench.get("/api/v1/models").await;
    let models = page["items"].as_array().unwrap();
    assert_eq!(models.len(), 2);
    let shared = &models[1];
    assert_eq!(
        (&shared["key"], &shared["digests_differ"]),
        (&json!("shared"), &json!(true))
    );
    let replicas = shared["replicas"].as_array().unwrap();
    assert_eq!(replicas.len(), 2);
    assert_eq!(
        (
            &replicas[0]["node"],
            &replicas[0]["state"],
            &replicas[0]["context"]
        ),
        (&json!("one"), &json!("ready"), &json!(8192))
    );
    assert_eq!(
        (&replicas[0]["loaded"], &replicas[0]["size_bytes"]),
        (&json!(true), &json!(2_000_000_000_u64))
    );
    for (words, found) in [
        ("share", 1),
        ("LLAMA%20two", 1),
        ("llama%20one", 2),
        ("gguf", 2),
        ("alone%20two", 0),
        ("shared%20gemma", 0),
    ] {
        let page = bench.get(&format!("/api/v1/models?q={words}")).await;
        assert_eq!(page["items"].as_array().unwrap().len(), found, "{words}");
    }
}

#[tokio::test]
async fn a_node_key_is_not_readable_in_the_database_file() {
    let store = TestStore::sqlite().await;
    let bench = Bench::open(&store).await;
    let server = Server::vllm("m").await;
    let key = "sk-a-very-recognisable-node-key";
    let body = json!({"name": "a", "url": server.url(), "api_key": key});
    let (status, _) = bench.call(Method::POST, "/api/v1/nodes", Some(body)).await;
    assert_eq!(status, StatusCode::CREATED);
    bench.stop().await;
    let path = store
        .config()
        .url
        .expose()
        .strip_prefix("sqlite:")
        .unwrap()
        .to_owned();
    let folder = std::path::Path::new(&path).parent().unwrap();
    let mut bytes_read = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        bytes_read += bytes.len();
        assert!(
            !bytes
                .windows(key.len())
                .any(|window| window == key.as_bytes())
        );
    }
    assert!(bytes_read > 10_000, "the database was really looked at");
}
