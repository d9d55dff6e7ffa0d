//! Recorded requests, replayed over the fleet as it is.

use serde_json::{Value, json};
use testbed::Flavour;

use crate::rig::Rig;

const SIMULATIONS: &str = "/api/v1/simulations";

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_compared_over_ones_own_requests() -> anyhow::Result<()> {
    let rig = Rig::start(&[Flavour::Vllm, Flavour::Ollama]).await?;
    let admin = rig.admin().await?;
    let nothing = admin.post(SIMULATIONS, &json!({})).await?;
    assert_eq!(nothing.status, 422, "{}", nothing.text());
    let mut last = String::new();
    for _ in 0..6 {
        let body = json!({"model": "test-model", "messages": [{"role": "user", "content": "[[testbed tokens=5]] x"}]});
        let reply = rig.client.post("/v1/chat/completions", &body).await?;
        assert_eq!(reply.status, 200);
        last = reply.headers["x-request-id"].to_str()?.to_owned();
    }
    rig.record(&last).await?;
    let answer = admin.post(SIMULATIONS, &json!({})).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let found = answer.json()?;
    assert_eq!(
        (&found["requests"], &found["left_out"]),
        (&json!(6), &json!(0)),
        "{found}"
    );
    assert_eq!(found["fleet"].as_array().map(Vec::len), Some(2), "{found}");
    let results = found["results"].as_array().cloned().unwrap_or_default();
    assert_eq!(results.len(), 5);
    for result in &results {
        assert_eq!(result["served"], 6, "{result}");
        let percentiles = result["first_token_percentiles_ms"].as_array();
        assert_eq!(percentiles.map(Vec::len), Some(100));
    }
    let again =
        json!({"policies": ["round_robin", "round_robin"], "rate": 2.0, "seed": 7, "limit": 3});
    let found = admin.post(SIMULATIONS, &again).await?.json()?;
    assert_eq!(
        found["results"].as_array().map(Vec::len),
        Some(1),
        "{found}"
    );
    assert_eq!(found["requests"], 3);
    let same = admin.post(SIMULATIONS, &again).await?.json()?;
    assert_eq!(
        found["results"], same["results"],
        "the same seed gives the same"
    );
    for (wrong, status) in [
        (json!({"policies": ["best"]}), 400),
        (json!({"limit": 0}), 400),
        (json!({"limit": 20_001}), 400),
        (json!({"rate": 0}), 400),
        (json!({"rate": -1}), 400),
        (json!({"since": "yesterday"}), 400),
        (json!({"since": "2999-01-01T00:00:00Z"}), 422),
        (json!({"trace": "x"}), 400),
    ] {
        let answer = admin.post(SIMULATIONS, &wrong).await?;
        assert_eq!(answer.status, status, "{wrong}: {}", answer.text());
    }
    let refused = rig.client.post(SIMULATIONS, &Value::Null).await?;
    assert!(matches!(refused.status.as_u16(), 401 | 403));
    rig.shutdown().await;
    Ok(())
}
