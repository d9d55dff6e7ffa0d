//! Whatever callers do, every count comes back to zero: not only the totals, but those of each node and model.

use std::collections::VecDeque;
use std::pin::Pin;

use dialects::ApiError;
use futures_util::poll;
use scheduling::CapacityOutcome;
use scheduling::queue::Class;
use testbed::{Flavour, ScriptedModel, ScriptedUpstream};

use crate::exchange::Exchange;
use crate::routing::{self, Chosen};
use crate::testing::Bench;
use crate::upstream::prepare::Wanted;

/// A million where the code is optimised; fewer in development builds, which are slow.
const CALLS: usize = if cfg!(debug_assertions) {
    100_000
} else {
    1_000_000
};

type Choosing = Pin<Box<dyn Future<Output = (Box<Exchange>, Result<Chosen, ApiError>)>>>;

fn choose(mut exchange: Box<Exchange>) -> Choosing {
    Box::pin(async move {
        let chosen = routing::choose(&mut exchange, &Wanted::Original { may_pass: true }).await;
        (exchange, chosen)
    })
}

fn node(name: &str, flavour: Flavour) -> anyhow::Result<ScriptedUpstream> {
    ScriptedUpstream::builder(flavour)
        .name(name)
        .model(ScriptedModel::chat("one"))
        .model(ScriptedModel::chat("two"))
        .start()
}

#[tokio::test]
async fn calls_of_which_many_are_given_up_leave_no_permit_behind() -> anyhow::Result<()> {
    let nodes = [
        node("a", Flavour::Vllm)?,
        node("b", Flavour::LlamaServer)?,
        node("c", Flavour::Vllm)?,
    ];
    let bench = Bench::over(&nodes, 1).await?;
    let admission = &bench.worker.shared.live.admission;
    let mut waiting: VecDeque<Choosing> = VecDeque::new();
    let mut running: VecDeque<(Box<Exchange>, Chosen)> = VecDeque::new();
    let (mut begun, mut started, mut given_up) = (0, 0, 0);
    let mut spare: Vec<Box<Exchange>> = Vec::new();
    let mut made = 0;
    while begun < CALLS {
        let random = bench.worker.random();
        // An exchange is used for many calls, one after the other: what is given up is the turn and the place.
        let exchange = if let Some(exchange) = spare.pop() {
            exchange
        } else {
            made += 1;
            let model = if made % 2 == 0 { "one" } else { "two" };
            bench.exchange(
                model,
                [Class::Interactive, Class::Default, Class::Batch][made % 3],
            )?
        };
        begun += 1;
        let mut choosing = choose(exchange);
        match poll!(&mut choosing) {
            std::task::Poll::Ready((exchange, chosen)) => {
                started += 1;
                running.push_back((exchange, chosen.map_err(|e| anyhow::anyhow!(e.message))?));
            }
            std::task::Poll::Pending => waiting.push_back(choosing),
        }
        if (running.len() > 6 || random % 5 == 0)
            && let Some((mut exchange, mut chosen)) = running.pop_front()
        {
            if random % 2 == 0 {
                chosen.place.first_token();
                chosen.place.note(CapacityOutcome::Served);
            }
            drop(chosen);
            exchange.turn = None;
            spare.push(exchange);
        }
        for _ in 0..waiting.len().min(2) {
            let Some(mut choosing) = waiting.pop_front() else {
                break;
            };
            match poll!(&mut choosing) {
                std::task::Poll::Ready((exchange, Ok(chosen))) => {
                    started += 1;
                    running.push_back((exchange, chosen));
                }
                std::task::Poll::Ready((_, Err(error))) => anyhow::bail!(error.message),
                // The client goes away, with its exchange.
                std::task::Poll::Pending if waiting.len() > 20 || random % 7 == 0 => given_up += 1,
                std::task::Poll::Pending => waiting.push_back(choosing),
            }
        }
        if begun % 1_000 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert!(
        started > CALLS / 10 && given_up > CALLS / 10,
        "{started} {given_up}"
    );
    drop((waiting, running, spare));
    assert_eq!(admission.leftovers(), Vec::<String>::new());
    for node in &bench.worker.shared.registry.snapshot().nodes {
        assert_eq!(
            (node.activity.in_flight(), node.activity.queued_tokens()),
            (0, 0),
            "{}",
            node.name
        );
    }
    let metrics = bench.metrics.render();
    for series in [
        "remuda_queue_running 0",
        "remuda_in_flight_requests 0",
        "remuda_queue_waiting{class=\"batch\"} 0",
    ] {
        assert!(metrics.contains(series), "{series}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_who_wait_for_a_lost_fleet_are_all_answered() -> anyhow::Result<()> {
    const WAITING: usize = 10_000;
    let nodes = [node("only", Flavour::Vllm)?];
    let bench = Bench::over(&nodes, 4).await?;
    let gate = testbed::Gate::closed();
    nodes[0].edit_script(|script| script.gate = Some((0, gate.clone())));
    let admission = &bench.worker.shared.live.admission;
    admission.set_limits(scheduling::queue::QueueLimits {
        default: 2 * WAITING as u32,
        organisation_percent: 100,
        ..scheduling::queue::QueueLimits::default()
    });
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..WAITING + 4 {
        let mut exchange = bench.exchange("one", Class::Default)?;
        calls.spawn(async move { crate::unary::answer(&mut exchange).await });
    }
    nodes[0].wait_for(|c| c.in_flight == 4).await?;
    testbed::wait_until(
        "ten thousand wait",
        std::time::Duration::from_mins(1),
        || {
            bench.metrics.render().contains(&format!(
                "remuda_queue_waiting{{class=\"default\"}} {WAITING}\n"
            ))
        },
    )
    .await?;
    nodes[0].kill();
    let (mut served, mut refused) = (0, 0);
    while let Some(answer) = calls.join_next().await {
        match answer? {
            Ok(_) => served += 1,
            Err(error) => {
                assert!(matches!(error.kind.status(), 502..=504), "{error:?}");
                refused += 1;
            }
        }
        if refused == 10 {
            // Some have heard that nobody is there; all others are served or hear it, too.
            gate.open();
            nodes[0].restart()?;
        }
    }
    assert_eq!(served + refused, WAITING + 4);
    assert_eq!(admission.leftovers(), Vec::<String>::new());
    let mut later = bench.exchange("one", Class::Default)?;
    assert!(crate::unary::answer(&mut later).await.is_ok());
    Ok(())
}
