//! How an answer streams: seeds, limits, stop texts.

use remuda_engine::{Prompt, SamplingParams, StopReason};

use crate::fixture::{Finished, ask, chat, demo, greedy, request};

async fn answer(sampling: SamplingParams) -> Finished {
    ask(
        &demo(),
        request(
            "remuda-demo",
            chat(&[("user", "What is Remuda?")]),
            sampling,
        ),
    )
    .await
}

#[tokio::test]
async fn the_answer_comes_in_many_pieces() {
    let finished = answer(greedy()).await;
    assert!(finished.pieces.len() > 10);
    assert!(finished.pieces.iter().all(|piece| !piece.is_empty()));
    assert_eq!(
        finished.stats.completion_tokens,
        finished.pieces.len() as u64
    );
}

#[tokio::test]
async fn the_same_seed_gives_the_same_text() {
    let wild = |seed| SamplingParams {
        temperature: 3.0,
        top_k: 0,
        top_p: 1.0,
        seed: Some(seed),
        num_predict: Some(30),
        ..greedy()
    };
    let (first, again, other) = (
        answer(wild(1)).await,
        answer(wild(1)).await,
        answer(wild(2)).await,
    );
    assert_eq!(first.text(), again.text());
    assert_ne!(first.text(), other.text());
}

#[tokio::test]
async fn the_token_limit_cuts_the_answer() {
    let whole = answer(greedy()).await;
    let cut = answer(SamplingParams {
        num_predict: Some(5),
        ..greedy()
    })
    .await;
    assert_eq!(
        (cut.reason, cut.stats.completion_tokens),
        (StopReason::Length, 5)
    );
    assert!(whole.text().starts_with(&cut.text()));
    let none = answer(SamplingParams {
        num_predict: Some(0),
        ..greedy()
    })
    .await;
    assert_eq!(
        (
            none.reason,
            none.text().as_str(),
            none.stats.completion_tokens
        ),
        (StopReason::Length, "", 0)
    );
}

#[tokio::test]
async fn the_context_cuts_the_answer() {
    let mut request = request("remuda-demo", Prompt::Raw("Remuda is".to_owned()), greedy());
    request.num_ctx = Some(12);
    let finished = ask(&demo(), request).await;
    assert_eq!(finished.reason, StopReason::Length);
    assert_eq!(
        finished.stats.prompt_tokens + finished.stats.completion_tokens,
        12
    );
}

#[tokio::test]
async fn a_stop_text_ends_the_answer_and_is_not_shown() {
    let whole = answer(greedy()).await.text();
    // A stop text that begins and ends in the middle of words lies across tokens.
    let stop = whole.get(14..34).unwrap().to_owned();
    let stopped = answer(SamplingParams {
        stop: vec!["never said".to_owned(), stop.clone()],
        ..greedy()
    })
    .await;
    assert_eq!(stopped.reason, StopReason::Stop);
    assert_eq!(stopped.text(), whole.split_once(&stop).unwrap().0);
}
