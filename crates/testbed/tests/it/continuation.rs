//! Any server goes on exactly where any other stopped.

use serde_json::{Value, json};
use testbed::{Answer, Flavour, ScriptedUpstream, TestClient};

const QUESTION: &str = "tell me about llamas";

/// Returns path and body with which a server goes on after `begun`.
fn requests(flavour: Flavour, begun: &str) -> Vec<(&'static str, Value)> {
    let messages =
        json!([{"role": "user", "content": QUESTION}, {"role": "assistant", "content": begun}]);
    let raw = format!("{QUESTION}{begun}");
    let mut all = vec![(
        "/v1/completions",
        json!({"model": "test-model", "prompt": raw}),
    )];
    match flavour {
        Flavour::Ollama => {
            all.push((
                "/api/chat",
                json!({"model": "test-model", "messages": messages, "stream": false}),
            ));
            all.push((
                "/api/generate",
                json!({"model": "test-model", "prompt": raw, "raw": true, "stream": false}),
            ));
        }
        Flavour::Vllm => all.push((
            "/v1/chat/completions",
            json!({
                "model": "test-model", "messages": messages, "continue_final_message": true,
                "add_generation_prompt": false,
            }),
        )),
        Flavour::LlamaServer => {
            all.push((
                "/v1/chat/completions",
                json!({"model": "test-model", "messages": messages}),
            ));
        }
        Flavour::Other => {}
    }
    all
}

fn text_of(reply: &Value) -> String {
    let places = [
        &reply["message"]["content"],
        &reply["response"],
        &reply["choices"][0]["text"],
    ];
    let text = places
        .into_iter()
        .chain([&reply["choices"][0]["message"]["content"]])
        .find_map(Value::as_str);
    text.unwrap().to_owned()
}

#[tokio::test]
async fn joined_text_equals_the_undisturbed_one_on_every_server() {
    let answer = Answer::to(QUESTION, None);
    for flavour in [
        Flavour::Ollama,
        Flavour::Vllm,
        Flavour::LlamaServer,
        Flavour::Other,
    ] {
        let upstream = ScriptedUpstream::start(flavour).unwrap();
        let client = TestClient::new(upstream.address());
        for cut in [1, 9, answer.tokens().len()] {
            let begun = answer.tokens()[..cut].concat();
            for (path, body) in requests(flavour, &begun) {
                let reply = client.post(path, &body).await.unwrap().json().unwrap();
                let repeats =
                    flavour == Flavour::LlamaServer && path.ends_with("/chat/completions");
                let begun = if repeats { "" } else { &begun };
                assert_eq!(
                    format!("{begun}{}", text_of(&reply)),
                    answer.text(),
                    "{flavour:?} {path} {cut}"
                );
            }
        }
    }
}

#[tokio::test]
async fn vllm_without_its_flag_starts_a_new_answer() {
    let upstream = ScriptedUpstream::start(Flavour::Vllm).unwrap();
    let begun = Answer::to(QUESTION, None).tokens()[..4].concat();
    let messages =
        json!([{"role": "user", "content": QUESTION}, {"role": "assistant", "content": begun}]);
    let body = json!({"model": "test-model", "messages": messages});
    let reply = TestClient::new(upstream.address())
        .post("/v1/chat/completions", &body)
        .await
        .unwrap();
    assert_eq!(
        text_of(&reply.json().unwrap()),
        Answer::to(&format!("{QUESTION}\n{begun}"), None).text()
    );
}
