//! Bounds, cancelling, and many sequences at once.

use remuda_engine::{Engine, EngineConfig, EngineError, GenerationEvent, Prompt, SamplingParams};

use crate::fixture::{ask, chat, demo, finish, greedy, request};

const QUESTIONS: [&str; 4] = [
    "What is Remuda?",
    "How do I start it?",
    "How does routing work?",
    "hello",
];

fn small() -> Engine {
    Engine::start(&EngineConfig {
        max_sequences: 1,
        max_waiting: 1,
        ..EngineConfig::default()
    })
    .0
}

fn question() -> remuda_engine::GenerateRequest {
    request(
        "remuda-demo",
        chat(&[("user", "What is Remuda?")]),
        greedy(),
    )
}

#[tokio::test]
async fn beyond_the_bound_the_engine_is_busy_and_a_dropped_answer_frees_its_place() {
    let engine = small();
    let running = engine.generate(question()).await.unwrap();
    let waiting = engine.generate(question()).await.unwrap();
    assert_eq!(
        engine.generate(question()).await.unwrap_err(),
        EngineError::Busy("remuda-demo".to_owned())
    );
    drop(running);
    let next = engine.generate(question()).await.unwrap();
    let (waiting, next) = (finish(waiting).await, finish(next).await);
    assert_eq!(waiting.text(), next.text());
    assert!(engine.generate(question()).await.is_ok());
}

#[tokio::test]
async fn a_finished_answer_frees_its_place_before_it_is_dropped() {
    let engine = small();
    let mut first = engine.generate(question()).await.unwrap();
    let _second = engine.generate(question()).await.unwrap();
    while let Some(event) = first.next().await {
        if matches!(event, GenerationEvent::Done { .. }) {
            break;
        }
    }
    assert!(first.next().await.is_none());
    assert!(engine.generate(question()).await.is_ok());
}

#[tokio::test]
async fn sequences_that_run_together_answer_as_if_alone() {
    let mut alone = Vec::new();
    for question in QUESTIONS {
        alone.push(
            ask(
                &demo(),
                request("remuda-demo", chat(&[("user", question)]), greedy()),
            )
            .await
            .text(),
        );
    }
    let engine = demo();
    let mut running = Vec::new();
    for question in QUESTIONS.iter().cycle().take(8) {
        running.push(
            engine
                .generate(request(
                    "remuda-demo",
                    chat(&[("user", question)]),
                    greedy(),
                ))
                .await
                .unwrap(),
        );
    }
    for (place, generation) in running.into_iter().enumerate() {
        assert_eq!(finish(generation).await.text(), alone[place % alone.len()]);
    }
}

#[tokio::test]
async fn a_reader_who_never_reads_does_not_hold_up_others() {
    let engine = demo();
    let _unread = engine.generate(question()).await.unwrap();
    assert!(!ask(&engine, question()).await.text().is_empty());
}

#[tokio::test]
async fn the_next_turn_reads_only_what_is_new() {
    let engine = demo();
    let first = ask(&engine, question()).await;
    let turns = [
        ("user", "What is Remuda?"),
        ("assistant", &first.text()),
        ("user", "thanks"),
    ];
    let second = ask(&engine, request("remuda-demo", chat(&turns), greedy())).await;
    assert!(
        second.stats.cached_tokens >= first.stats.prompt_tokens + first.stats.completion_tokens - 1
    );
    let fresh = ask(&demo(), request("remuda-demo", chat(&turns), greedy())).await;
    assert_eq!(fresh.stats.cached_tokens, 0);
    assert_eq!(fresh.text(), second.text());
}

#[tokio::test]
async fn requests_that_cannot_work_are_refused_with_their_reason() {
    let engine = demo();
    let unknown = engine
        .generate(request("nobody", Prompt::Raw("x".to_owned()), greedy()))
        .await
        .unwrap_err();
    assert_eq!(unknown, EngineError::UnknownModel("nobody".to_owned()));
    let long = Prompt::Raw("remuda ".repeat(2000));
    let overflow = engine
        .generate(request("remuda-demo", long, greedy()))
        .await
        .unwrap_err();
    assert!(
        matches!(overflow, EngineError::ContextOverflow { prompt, context: 1024 } if prompt > 1024),
        "{overflow:?}"
    );
    let mut tight = question();
    tight.num_ctx = Some(4);
    assert!(matches!(
        engine.generate(tight).await.unwrap_err(),
        EngineError::ContextOverflow { context: 4, .. }
    ));
    let empty = engine
        .generate(request("remuda-demo", chat(&[]), greedy()))
        .await
        .unwrap_err();
    assert!(matches!(empty, EngineError::Invalid(_)));
    let sampling = SamplingParams {
        temperature: f32::NAN,
        ..greedy()
    };
    let nonsense = engine
        .generate(request("remuda-demo", chat(&[("user", "hi")]), sampling))
        .await
        .unwrap_err();
    assert!(matches!(nonsense, EngineError::Invalid(_)));
}

#[tokio::test]
async fn an_unloaded_model_comes_back_at_the_next_request() {
    let engine = demo();
    let before = ask(&engine, question()).await;
    assert!(engine.models()[0].loaded);
    engine.unload("remuda-demo").unwrap();
    let after = ask(&engine, question()).await;
    assert_eq!(after.text(), before.text());
    assert!(engine.unload("nobody").is_err());
}
