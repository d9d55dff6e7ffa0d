//! An organisation that runs much more than its share leaves the fast places to others, although it could fill them.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use dialects::ApiError;
use futures_util::poll;
use scheduling::SpeedSample;
use scheduling::queue::Class;
use testbed::{Flavour, ScriptedModel, ScriptedUpstream};

use crate::exchange::Exchange;
use crate::routing::{self, Chosen};
use crate::testing::Bench;
use crate::upstream::prepare::Wanted;

const FLOODS: u128 = 1;
const MODEST: u128 = 2;

fn node(name: &str) -> anyhow::Result<ScriptedUpstream> {
    ScriptedUpstream::builder(Flavour::Vllm)
        .name(name)
        .model(ScriptedModel::chat("one"))
        .start()
}

/// Teaches how fast a node is: so many tokens of answers a second, a hundred times as many of prompts.
fn teach(bench: &Bench, node: &str, tokens: u64) -> anyhow::Result<()> {
    let routes = bench.worker.shared.routes.load();
    let route = routes.model("one").ok_or(anyhow::anyhow!("no route"))?;
    let mut replicas = route.replicas.iter();
    let replica = replicas.find(|replica| &*replica.node.view.name == node);
    let replica = replica.ok_or(anyhow::anyhow!("no node {node}"))?;
    let second = Duration::from_secs(1);
    replica.live.speed.lock().observe(&SpeedSample {
        prefill_tokens: 100 * tokens,
        prefill: second,
        first_token: Some(second),
        decode_tokens: tokens,
        decode: second,
    });
    Ok(())
}

type Choosing = Pin<Box<dyn Future<Output = (Box<Exchange>, Result<Chosen, ApiError>)>>>;

/// Calls that were made, by whether they have a place.
#[derive(Default)]
struct Calls {
    running: Vec<(Box<Exchange>, Chosen)>,
    waiting: Vec<Choosing>,
}

impl Calls {
    async fn add(&mut self, bench: &Bench, organisation: u128) -> anyhow::Result<()> {
        let mut exchange = bench.exchange("one", Class::Default)?;
        exchange.tenant.organisation = organisation;
        let mut choosing: Choosing = Box::pin(async move {
            let chosen = routing::choose(&mut exchange, &Wanted::Original { may_pass: true }).await;
            (exchange, chosen)
        });
        match poll!(&mut choosing) {
            Poll::Ready((exchange, chosen)) => {
                let chosen = chosen.map_err(|error| anyhow::anyhow!(error.message))?;
                self.running.push((exchange, chosen));
            }
            Poll::Pending => self.waiting.push(choosing),
        }
        Ok(())
    }

    fn places(&self) -> Vec<&str> {
        let nodes = self.running.iter();
        nodes
            .map(|(_, chosen)| &*chosen.replica.node.view.name)
            .collect()
    }
}

#[tokio::test]
async fn who_floods_leaves_the_fast_node_to_others() -> anyhow::Result<()> {
    let bench = Bench::over(&[node("fast")?, node("slow")?], 4).await?;
    teach(&bench, "fast", 100)?;
    teach(&bench, "slow", 50)?;
    // Alone, an organisation may use everything: somebody else calls now and then.
    Calls::default().add(&bench, MODEST).await?;
    let mut flood = Calls::default();
    for _ in 0..20 {
        flood.add(&bench, FLOODS).await?;
    }
    // Of the slow one's places it leaves a quarter, too.
    let mut places = flood.places();
    places.sort_unstable();
    assert_eq!(places, ["fast", "slow", "slow", "slow"]);
    let mut others = Calls::default();
    others.add(&bench, MODEST).await?;
    assert_eq!(others.places(), ["fast"]);
    Ok(())
}
