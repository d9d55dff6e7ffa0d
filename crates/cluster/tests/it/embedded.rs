//! The engine inside the process is a node like any other, but for what cannot be changed about it.

use std::sync::{Arc, Mutex};

use http::{Method, StatusCode};
use remuda_cluster::{EMBEDDED_NAME, EmbeddedNode, Loaded, ModelView, NodeKind};

use crate::bench::Bench;

struct Engine(Mutex<Vec<ModelView>>);

impl EmbeddedNode for Engine {
    fn models(&self) -> Vec<ModelView> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn the_embedded_engine_appears_with_its_models() {
    let (_store, bench) = Bench::sqlite().await;
    let demo = ModelView {
        loaded: Some(Loaded::default()),
        ..ModelView::named("remuda-demo")
    };
    let engine = Arc::new(Engine(Mutex::new(vec![demo])));
    bench
        .registry
        .attach_embedded(Arc::clone(&engine) as Arc<dyn EmbeddedNode>);
    let node = bench.node(EMBEDDED_NAME);
    assert_eq!(
        (node.kind, node.is_routable(), node.url.is_none()),
        (NodeKind::Engine, true, true)
    );
    assert_eq!(bench.registry.snapshot().replicas("remuda-demo").len(), 1);
    assert_eq!(bench.get("/api/v1/nodes/embedded").await["kind"], "engine");

    let call = node.activity.begin(10);
    engine.0.lock().unwrap().push(ModelView::named("second"));
    bench.watch();
    bench
        .until("the second model is known", |fleet| {
            !fleet.replicas("second").is_empty()
        })
        .await;
    assert_eq!(
        bench.node(EMBEDDED_NAME).activity.in_flight(),
        1,
        "counts survive"
    );
    drop(call);

    for path in ["/api/v1/nodes/embedded", "/api/v1/nodes/embedded/drain"] {
        let method = if path.ends_with("drain") {
            Method::POST
        } else {
            Method::DELETE
        };
        let (status, problem) = bench.call(method, path, None).await;
        assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    }
}
