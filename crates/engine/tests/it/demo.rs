//! The shipped demo model answers what a fresh machine's first user asks.

use remuda_engine::{ChatPrompt, ChatTurn, GenerationEvent, KeepAlive, Prompt, StopReason};

use crate::fixture::{ask, chat, demo, greedy, request};

async fn answer(turns: &[(&str, &str)]) -> String {
    let finished = ask(&demo(), request("remuda-demo", chat(turns), greedy())).await;
    assert_eq!(finished.reason, StopReason::Stop);
    finished.text()
}

#[tokio::test]
async fn it_says_what_remuda_is_however_one_asks() {
    for question in [
        "What is Remuda?",
        "what is remuda",
        "What is remuda",
        "WHAT IS REMUDA?",
        "So, what is Remuda exactly?",
    ] {
        let text = answer(&[("user", question)]).await;
        assert!(
            text.starts_with("Remuda is a gateway for self-hosted LLM servers."),
            "{question} -> {text}"
        );
    }
}

#[tokio::test]
async fn it_keeps_to_the_question_in_a_conversation() {
    let hello = answer(&[("user", "Hello!")]).await;
    assert!(hello.starts_with("Hello!"), "{hello}");
    let turns = [
        ("user", "Hello!"),
        ("assistant", &hello),
        ("user", "What is Remuda?"),
    ];
    let what = answer(&turns).await;
    assert!(what.starts_with("Remuda is a gateway"), "{what}");
    let turns = [
        &turns[..],
        &[("assistant", &what), ("user", "How do I add a node?")],
    ]
    .concat();
    let add = answer(&turns).await;
    assert!(add.contains("remuda node add"), "{add}");
}

#[tokio::test]
async fn it_knows_the_first_steps() {
    for (question, expected) in [
        ("How do I start it?", "remuda up"),
        ("Which port does it use?", "127.0.0.1:11440"),
        ("How do I create an API key?", "remuda key create"),
        ("How do I drain a node?", "remuda node drain"),
        ("Why was this node chosen?", "remuda why"),
        ("Who are you?", "remuda-demo"),
    ] {
        let text = answer(&[("user", question)]).await;
        assert!(text.contains(expected), "{question} -> {text}");
    }
}

#[tokio::test]
async fn it_admits_what_it_does_not_know() {
    for question in [
        "What is the capital of France?",
        "Write me a poem about the sea",
        "Who invented the telephone?",
    ] {
        let text = answer(&[("user", question)]).await;
        assert!(
            text.contains("only know about Remuda"),
            "{question} -> {text}"
        );
    }
}

#[tokio::test]
async fn a_partial_answer_continued_in_place_gives_the_undisturbed_text() {
    let engine = demo();
    let question = [ChatTurn::new("user", "How does routing work?")];
    let whole = ask(
        &engine,
        request(
            "remuda-demo",
            chat(&[("user", "How does routing work?")]),
            greedy(),
        ),
    )
    .await;
    for tokens in [1, 3, 8, 15, 24] {
        let said: String = whole
            .pieces
            .iter()
            .take(tokens)
            .map(String::as_str)
            .collect();
        let messages = question
            .iter()
            .cloned()
            .chain([ChatTurn::new("assistant", said.clone())])
            .collect();
        let prompt = Prompt::Chat(ChatPrompt {
            messages,
            continue_last: true,
            ..ChatPrompt::default()
        });
        // Another engine stands for another node: nothing is remembered there.
        let rest = ask(&demo(), request("remuda-demo", prompt, greedy())).await;
        assert_eq!(
            said + &rest.text(),
            whole.text(),
            "cut after {tokens} tokens"
        );
    }
}

#[tokio::test]
async fn the_card_describes_it() {
    let engine = demo();
    let cards = engine.models();
    let card = &cards[0];
    assert_eq!(
        (
            card.name.as_str(),
            card.family.as_str(),
            card.quantization.as_str()
        ),
        ("remuda-demo", "llama", "Q8_0")
    );
    assert!(card.size_bytes <= 8 << 20);
    assert!(card.capabilities.completion && !card.loaded);
    engine
        .load("Remuda-Demo:latest", KeepAlive::Forever)
        .await
        .unwrap();
    assert!(engine.models()[0].loaded);
    assert_eq!(
        engine.tokenize("remuda-demo", String::new()).await.unwrap(),
        0
    );
    assert!(
        engine
            .tokenize("remuda-demo", "What is Remuda?".to_owned())
            .await
            .unwrap()
            >= 4
    );
}

#[tokio::test]
async fn log_probabilities_come_with_their_text() {
    let engine = demo();
    let sampling = remuda_engine::SamplingParams {
        logprobs: Some(3),
        ..greedy()
    };
    let mut generation = engine
        .generate(request("remuda-demo", chat(&[("user", "hi")]), sampling))
        .await
        .unwrap();
    let (mut text, mut tokens) = (String::new(), String::new());
    while let Some(event) = generation.next().await {
        if let GenerationEvent::Text {
            text: piece,
            logprobs,
        } = event
        {
            text += &piece;
            for logprob in logprobs {
                tokens += &logprob.token;
                assert_eq!(logprob.top.len(), 3);
                assert_eq!(logprob.top[0].token, logprob.token);
                assert!(logprob.logprob <= 0.0 && logprob.top[0].logprob >= logprob.top[1].logprob);
            }
        }
    }
    assert!(!text.is_empty());
    assert_eq!(text, tokens);
}
