//! The simulator says what happens: the same small workload live and simulated. Coarse, because the machine that tests run on does
//! other work, too; `cargo xtask bench calibration` measures on a quiet one.

use std::time::Duration;

use scheduling::PolicyName;
use scheduling::simulator::{FleetSpec, Options, TraceRequest, simulate};
use serde_json::json;
use testbed::{Flavour, ScriptedUpstream};
use tokio::time::Instant;

use crate::rig::Rig;

const NODES: usize = 2;
const SLOTS: u32 = 2;
const REQUESTS: u32 = 40;
const BETWEEN: Duration = Duration::from_millis(60);
const PROMPT_TOKENS: u32 = 100;
const ANSWER_TOKENS: u32 = 20;
const READ_PER_S: u32 = 1_000;
const TOKEN: Duration = Duration::from_millis(10);

/// Replays the workload against a gateway; returns the times from arrival to the end, the shortest first.
async fn live() -> anyhow::Result<Vec<Duration>> {
    let nodes = (0..NODES).map(|n| {
        ScriptedUpstream::builder(Flavour::LlamaServer)
            .name(&format!("node{n}"))
            .start()
    });
    let rig = Rig::narrow(nodes.collect::<Result<_, _>>()?, Some(SLOTS), |_| {}).await?;
    for node in &rig.nodes {
        node.edit_script(|script| {
            script.prefill_tokens_per_s = Some(f64::from(READ_PER_S));
            script.token_delay = TOKEN;
            script.tokens = Some(ANSWER_TOKENS as usize);
        });
    }
    let start = Instant::now();
    let calls: Vec<_> = (0..REQUESTS)
        .map(|n| {
            let client = rig.client.clone();
            // No two prompts begin alike, and every word is one token of four bytes.
            let prompt = format!("{n:03} {}", "abc ".repeat(PROMPT_TOKENS as usize - 1));
            let body = json!({"model": "test-model", "stream": true, "messages": [{"role": "user", "content": prompt}]});
            tokio::spawn(async move {
                let at = start + BETWEEN * n;
                tokio::time::sleep_until(at).await;
                let reply = client.stream("/v1/chat/completions", &body).await?;
                anyhow::ensure!(reply.whole().await?.status == 200);
                anyhow::Ok(at.elapsed())
            })
        })
        .collect();
    let mut times = Vec::new();
    for call in calls {
        times.push(call.await??);
    }
    rig.shutdown().await;
    times.sort_unstable();
    Ok(times)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_simulated_happens() -> anyhow::Result<()> {
    let fleet = FleetSpec::parse(&format!(
        "[[models]]\nname = \"m\"\n[[nodes]]\nname = \"n\"\ncount = {NODES}\nprefill_tokens_per_s = {READ_PER_S}\n\
         decode_tokens_per_s = {}\nslots = {SLOTS}\nslowdown = 0.0\n",
        1_000 / TOKEN.as_millis()
    ))?;
    let trace = (0..REQUESTS).map(|n| {
        Ok(TraceRequest {
            at_us: (BETWEEN * n).as_micros() as u64,
            prompt_tokens: PROMPT_TOKENS,
            output_tokens: ANSWER_TOKENS,
            ..TraceRequest::default()
        })
    });
    let simulated = simulate(trace, &fleet, PolicyName::Remuda, &Options::default())?;
    let live = live().await?;
    let median = live[live.len() / 2].as_secs_f64() * 1e3;
    let ratio = median / simulated.end_to_end.p50_ms;
    // Nothing is faster than its servers; how much slower it is depends on what else the machine does.
    assert!(
        (0.85..=4.0).contains(&ratio),
        "{median} ms live, {} ms simulated",
        simulated.end_to_end.p50_ms
    );
    Ok(())
}
