//! Answers that must be JSON, or JSON of a given shape.

use remuda_engine::{
    ChatPrompt, ChatTurn, Constraint, Engine, EngineError, Prompt, SamplingParams, StopReason,
};
use serde_json::{Value, json};

use crate::fixture::{Finished, chat, decoder, demo, finish, greedy, request, serve};

async fn answer(constraint: Constraint, sampling: SamplingParams) -> Finished {
    let question = chat(&[("user", "What is Remuda?")]);
    let engine = demo();
    let generation = engine
        .generate_constrained(request("remuda-demo", question, sampling), Some(constraint))
        .await
        .unwrap();
    finish(generation).await
}

fn parsed(finished: &Finished) -> Value {
    assert_eq!(finished.reason, StopReason::Stop, "{}", finished.text());
    serde_json::from_str(&finished.text()).unwrap()
}

#[tokio::test]
async fn any_schema_the_answer_satisfies_it() {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": { "enum": ["remuda", "ollama"] },
            "ports": { "type": "array", "items": { "$ref": "#/$defs/port" }, "minItems": 2, "maxItems": 2 },
            "ready": { "type": "boolean" }
        },
        "required": ["name", "ports", "ready"],
        "additionalProperties": false,
        "$defs": { "port": { "type": "integer", "minimum": 1, "maximum": 65535 } }
    });
    for seed in 0..5 {
        let wild = SamplingParams {
            temperature: 2.0,
            seed: Some(seed),
            ..greedy()
        };
        let value = parsed(&answer(Constraint::Schema(schema.clone()), wild).await);
        assert!(["remuda", "ollama"].contains(&value["name"].as_str().unwrap()));
        let ports = value["ports"].as_array().unwrap();
        assert_eq!(ports.len(), 2);
        for port in ports {
            assert!((1..=65535).contains(&port.as_u64().unwrap()));
        }
        assert!(value["ready"].is_boolean());
        assert_eq!(value.as_object().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn an_answer_that_could_go_on_ends_where_the_model_ends_it() {
    let schema = json!({ "type": "string", "maxLength": 40 });
    let value = parsed(&answer(Constraint::Schema(schema), greedy()).await);
    assert!(value.as_str().unwrap().chars().count() <= 40);
}

#[tokio::test]
async fn without_a_schema_the_answer_is_an_object() {
    for seed in 0..2 {
        let sampling = SamplingParams {
            temperature: 1.0,
            seed: Some(seed),
            num_predict: Some(100),
            ..greedy()
        };
        let finished = answer(Constraint::Json, sampling).await;
        assert!(finished.text().starts_with('{'), "{}", finished.text());
        // A model that was not trained for it may not find the end; but what it says is the beginning of an object.
        if finished.reason == StopReason::Stop {
            assert!(parsed(&finished).is_object());
        }
    }
}

#[tokio::test]
async fn a_vocabulary_of_bytes_works_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.gguf");
    decoder("llama").write(&path);
    let (engine, _) = serve(vec![path]);
    let schema =
        json!({ "type": "array", "items": { "type": "boolean" }, "minItems": 3, "maxItems": 3 });
    let wanted = request("tiny", Prompt::Raw("the".to_owned()), greedy());
    let generation = engine
        .generate_constrained(wanted, Some(Constraint::Schema(schema)))
        .await
        .unwrap();
    let value = parsed(&finish(generation).await);
    assert_eq!(value.as_array().unwrap().len(), 3);
}

async fn refusal(engine: &Engine, prompt: Prompt, schema: Value) -> EngineError {
    engine
        .generate_constrained(
            request("remuda-demo", prompt, greedy()),
            Some(Constraint::Schema(schema)),
        )
        .await
        .unwrap_err()
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused_with_its_reason() {
    let engine = demo();
    let question = || chat(&[("user", "hi")]);
    for (schema, reason) in [
        (json!({ "type": "horse" }), "horse"),
        (
            json!({ "$ref": "https://example.com/schema" }),
            "example.com",
        ),
        (json!({ "type": "string", "pattern": "(" }), "regex"),
        (json!(7), "schema"),
    ] {
        let error = refusal(&engine, question(), schema).await;
        assert!(
            matches!(&error, EngineError::Invalid(text) if text.contains(reason)),
            "{error}"
        );
    }
    let unfinished = Prompt::Chat(ChatPrompt {
        messages: vec![ChatTurn::new("user", "hi"), ChatTurn::new("assistant", "{")],
        continue_last: true,
        ..ChatPrompt::default()
    });
    let error = refusal(&engine, unfinished, json!({ "type": "object" })).await;
    assert!(matches!(error, EngineError::Unsupported(_)), "{error}");
    assert!(
        engine
            .generate(request("remuda-demo", question(), greedy()))
            .await
            .is_ok()
    );
}
