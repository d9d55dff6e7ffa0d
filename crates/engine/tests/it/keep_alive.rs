//! How long a model stays in memory when nobody uses it: what the last request said decides.

use std::sync::Arc;
use std::time::Duration;

use primitives::{Clock as _, ManualClock, SystemClock};
use remuda_engine::{EmbedRequest, Engine, EngineConfig, GenerateRequest, KeepAlive, ModelCard};

use crate::fixture::{ask, chat, greedy, request};

const HOUR: KeepAlive = KeepAlive::For(Duration::from_hours(1));

fn question(keep_alive: KeepAlive) -> GenerateRequest {
    GenerateRequest {
        keep_alive,
        ..request("remuda-demo", chat(&[("user", "hi")]), greedy())
    }
}

fn texts(keep_alive: KeepAlive) -> EmbedRequest {
    EmbedRequest {
        model: "remuda-demo".to_owned(),
        inputs: vec!["hi".to_owned()],
        truncate: true,
        keep_alive,
    }
}

fn card(engine: &Engine) -> ModelCard {
    engine.models().remove(0)
}

/// Waits until the model has left memory.
async fn until_gone(engine: &Engine) {
    let gone = async {
        while card(engine).loaded {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone)
        .await
        .expect("it stays in memory");
}

#[tokio::test]
async fn the_card_tells_until_when_it_stays() {
    let clock = ManualClock::new(SystemClock::new().now());
    let engine = Engine::start(&EngineConfig {
        clock: Arc::new(clock.clone()),
        idle_unload: Some(Duration::from_mins(5)),
        ..EngineConfig::default()
    })
    .0;
    let stays = |engine: &Engine| {
        let until = card(engine).expires_at?;
        Some(until.since(clock.now()))
    };
    assert_eq!(stays(&engine), None);
    engine.load("remuda-demo", HOUR).await.unwrap();
    // The thread answers before it looks for more to do: the next answer is behind that.
    engine.tokenize("remuda-demo", String::new()).await.unwrap();
    assert_eq!(stays(&engine), Some(Duration::from_hours(1)));
    clock.advance(Duration::from_mins(10));
    assert_eq!(stays(&engine), Some(Duration::from_mins(50)));

    ask(&engine, question(KeepAlive::AsConfigured)).await;
    engine.tokenize("remuda-demo", String::new()).await.unwrap();
    assert_eq!(stays(&engine), Some(Duration::from_mins(5)));
    engine.embed(texts(KeepAlive::Forever)).await.unwrap();
    engine.tokenize("remuda-demo", String::new()).await.unwrap();
    assert_eq!(stays(&engine), None);
    assert!(card(&engine).loaded);
}

#[tokio::test]
async fn it_leaves_at_once_after_a_request_that_said_so() {
    let engine = Engine::start(&EngineConfig::default()).0;
    let at_once = KeepAlive::For(Duration::ZERO);
    assert!(!ask(&engine, question(at_once)).await.text().is_empty());
    until_gone(&engine).await;
    engine.embed(texts(at_once)).await.unwrap();
    until_gone(&engine).await;
    engine.load("remuda-demo", at_once).await.unwrap();
    until_gone(&engine).await;
    // It comes back for whoever asks.
    assert!(!ask(&engine, question(HOUR)).await.text().is_empty());
    assert!(card(&engine).loaded);
}
