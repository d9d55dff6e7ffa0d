//! A model that keeps failing on one node is not asked there for a while; its other nodes and the node's other models are.

use std::sync::Arc;
use std::time::Duration;

use primitives::{Clock as _, ManualClock, SystemClock};
use scheduling::PolicyName;
use serde_json::{Value, json};
use testbed::{Flavour, Reply, ScriptedModel, ScriptedUpstream};

use crate::rig::Rig;

const CHAT: &str = "/v1/chat/completions";

/// Nodes `shaky` and `steady` that both have `broken`; `shaky` alone has `sound`. They are asked in turns.
struct Pair {
    rig: Rig,
    clock: ManualClock,
}

impl Pair {
    async fn start(flavour: Flavour) -> anyhow::Result<Self> {
        let node = |name, models: &[&str]| {
            let builder = ScriptedUpstream::builder(flavour).name(name);
            let add = |builder: testbed::upstream::Builder, model: &&str| {
                builder.model(ScriptedModel::chat(model).loaded())
            };
            models.iter().fold(builder, add).start()
        };
        let nodes = vec![
            node("shaky", &["broken", "sound"])?,
            node("steady", &["broken"])?,
        ];
        let clock = ManualClock::new(SystemClock::new().now());
        let rig = Rig::timed(nodes, None, Arc::new(clock.clone()), |config| {
            config.policy = PolicyName::RoundRobin;
        });
        let rig = rig.await?;
        Ok(Self { rig, clock })
    }

    /// Asks for a model; while it fails on `shaky`, `prompt` says so.
    async fn ask(&self, model: &str, stream: bool, prompt: &str) -> anyhow::Result<Reply> {
        let messages = json!([{"role": "user", "content": prompt}]);
        let body = json!({"model": model, "stream": stream, "messages": messages});
        let reply = self.rig.client.stream(CHAT, &body).await?.whole().await?;
        anyhow::ensure!(reply.status == 200, "{}", reply.text());
        Ok(reply)
    }

    /// Returns how often `shaky` was asked for a model.
    fn asked(&self, model: &str) -> usize {
        let requests = self.rig.nodes[0].requests_to(CHAT);
        let models = requests.iter().map(testbed::upstream::SeenRequest::json);
        models.filter(|body: &Value| body["model"] == model).count()
    }

    /// Returns whether the metrics show the breaker of a model on a node as open.
    fn is_open(&self, model: &str, node: &str) -> bool {
        let series = format!("remuda_breaker_open{{model=\"{model}\",node=\"{node}\"}}");
        self.rig.metric(&series) == Some(1.0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_keeps_failing_on_a_node_is_left_alone_until_the_node_is_well()
-> anyhow::Result<()> {
    const FAILS: &str = "[[testbed node=shaky status=500]] x";
    for stream in [false, true] {
        let pair = Pair::start(Flavour::Vllm).await?;
        let mut requests = 0;
        while !pair.is_open("broken", "shaky") {
            anyhow::ensure!(requests < 50, "{requests} requests did not open it");
            pair.ask("broken", stream, FAILS).await?;
            requests += 1;
        }
        let failures = pair.asked("broken");
        assert!(failures > 1, "one failure is no reason");
        for _ in 0..10 {
            let reply = pair.ask("broken", stream, "x").await?;
            assert_eq!(reply.headers["x-remuda-node"], "steady");
            let other = pair.ask("sound", stream, "x").await?;
            assert_eq!(other.headers["x-remuda-node"], "shaky");
        }
        assert_eq!(pair.asked("broken"), failures);
        assert!(pair.is_open("broken", "shaky"));
        for (model, node) in [("sound", "shaky"), ("broken", "steady")] {
            assert!(!pair.is_open(model, node), "{model} {node}");
        }

        // After 15 s, and a tenth at most, one request tries. It fails, and that is all for twice the time.
        pair.clock.advance(Duration::from_secs(17));
        for _ in 0..10 {
            pair.ask("broken", stream, FAILS).await?;
        }
        assert_eq!(pair.asked("broken"), failures + 1);
        assert!(pair.is_open("broken", "shaky"));
        pair.clock.advance(Duration::from_secs(17));
        for _ in 0..4 {
            pair.ask("broken", stream, "x").await?;
        }
        assert_eq!(pair.asked("broken"), failures + 1);

        // The node is well again, and gets its share.
        pair.clock.advance(Duration::from_secs(17));
        for _ in 0..10 {
            pair.ask("broken", stream, "x").await?;
        }
        assert!(!pair.is_open("broken", "shaky"));
        assert!(pair.asked("broken") > failures + 2);
        pair.rig.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_breaker_is_open_is_better_than_none() -> anyhow::Result<()> {
    let pair = Pair::start(Flavour::Vllm).await?;
    for request in 0.. {
        if pair.is_open("sound", "shaky") {
            break;
        }
        anyhow::ensure!(request < 50, "{request} requests did not open it");
        let messages = json!([{"role": "user", "content": "[[testbed status=500]] x"}]);
        let body = json!({"model": "sound", "messages": messages});
        let reply = pair.rig.client.post(CHAT, &body).await?;
        assert!(reply.status.is_server_error(), "{}", reply.text());
    }
    let reply = pair.ask("sound", false, "x").await?;
    assert_eq!(reply.headers["x-remuda-node"], "shaky");
    pair.rig.shutdown().await;
    Ok(())
}
