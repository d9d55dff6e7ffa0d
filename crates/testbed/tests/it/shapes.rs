//! Frames and bodies have the shapes of the real servers.

use serde_json::{Value, json};
use testbed::{Answer, Flavour, Script, ScriptedModel, ScriptedUpstream, TestClient};

fn chat(prompt: &str) -> Value {
    json!({"model": "test-model", "messages": [{"role": "user", "content": prompt}], "stream": true})
}

#[tokio::test]
async fn ollama_chat_streams_one_line_per_token_and_a_final_frame_with_exact_counts() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let client = TestClient::new(upstream.address());
    let reply = client
        .stream("/api/chat", &chat("how are you"))
        .await
        .unwrap();
    assert_eq!(reply.headers["content-type"], "application/x-ndjson");
    let lines = reply.json_lines().await.unwrap();
    let answer = Answer::to("how are you", None);
    let texts: Vec<&str> = lines
        .iter()
        .map(|line| line["message"]["content"].as_str().unwrap())
        .collect();
    assert_eq!(texts.concat(), answer.text());
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["done"], &last["done_reason"]),
        (&json!(true), &json!("stop"))
    );
    assert_eq!(last["eval_count"], answer.tokens().len());
    assert_eq!(last["prompt_eval_count"], 3);
    assert_eq!(lines.len(), answer.tokens().len() + 1);
}

#[tokio::test]
async fn openai_chat_streams_role_tokens_finish_usage_and_done() {
    for flavour in [
        Flavour::Vllm,
        Flavour::LlamaServer,
        Flavour::Other,
        Flavour::Ollama,
    ] {
        let upstream = ScriptedUpstream::start(flavour).unwrap();
        let mut body = chat("how are you");
        body["stream_options"] = json!({"include_usage": true});
        let reply = TestClient::new(upstream.address())
            .stream("/v1/chat/completions", &body)
            .await
            .unwrap();
        let mut data = reply.event_data().await.unwrap();
        assert_eq!(data.pop().unwrap(), "[DONE]");
        let chunks: Vec<Value> = data
            .iter()
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        let answer = Answer::to("how are you", None);
        let text: String = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(text, answer.text(), "{flavour:?}");
        let usage = chunks.last().unwrap();
        assert_eq!(usage["choices"], json!([]));
        assert_eq!(usage["usage"]["completion_tokens"], answer.tokens().len());
        assert_eq!(
            chunks[chunks.len() - 2]["choices"][0]["finish_reason"],
            "stop"
        );
        assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
    }
}

#[tokio::test]
async fn limits_and_stop_sequences_end_the_answer_where_they_should() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let client = TestClient::new(upstream.address());
    let answer = Answer::to("count", None);
    let limited = json!({"model": "test-model", "prompt": "count", "stream": false, "options": {"num_predict": 5}});
    let reply = client
        .post("/api/generate", &limited)
        .await
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(reply["response"], answer.tokens()[..5].concat());
    assert_eq!(
        (&reply["done_reason"], &reply["eval_count"]),
        (&json!("length"), &json!(5))
    );
    let stop = answer.tokens()[3].trim();
    let stopped = json!({"model": "test-model", "prompt": "count", "stream": false, "options": {"stop": [stop]}});
    let reply = client
        .post("/api/generate", &stopped)
        .await
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(
        reply["response"],
        format!("{} ", answer.tokens()[..3].concat())
    );
    assert_eq!(reply["done_reason"], "stop");
}

#[tokio::test]
async fn tool_calls_thinking_and_logprobs_come_when_asked_for() {
    let script = Script {
        thinking: 2,
        ..Script::default()
    };
    let upstream = ScriptedUpstream::builder(Flavour::Vllm)
        .script(script)
        .start()
        .unwrap();
    let client = TestClient::new(upstream.address());
    let mut body = chat("weather? [[testbed tool_call]]");
    body["stream"] = json!(false);
    body["tools"] =
        json!([{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]);
    let reply = client
        .post("/v1/chat/completions", &body)
        .await
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(reply["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(
        reply["choices"][0]["message"]["tool_calls"][0]["function"]["name"],
        "get_weather"
    );

    let mut body = chat("think");
    body["stream"] = json!(false);
    body["logprobs"] = json!(true);
    body["top_logprobs"] = json!(2);
    let reply = client
        .post("/v1/chat/completions", &body)
        .await
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(reply["choices"][0]["message"]["reasoning"], "hm0 hm1 ");
    let first = &reply["choices"][0]["logprobs"]["content"][0];
    assert_eq!(first["token"], Answer::to("think", None).tokens()[0]);
    assert_eq!(first["top_logprobs"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn unknown_models_are_refused_in_each_servers_own_words() {
    let client_of = |upstream: &ScriptedUpstream| TestClient::new(upstream.address());
    let body = json!({"model": "nobody", "messages": [{"role": "user", "content": "hi"}]});
    let ollama = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let reply = client_of(&ollama).post("/api/chat", &body).await.unwrap();
    assert_eq!(
        (reply.status.as_u16(), reply.json().unwrap()),
        (404, json!({"error": "model 'nobody' not found"}))
    );
    let vllm = ScriptedUpstream::start(Flavour::Vllm).unwrap();
    let reply = client_of(&vllm)
        .post("/v1/chat/completions", &body)
        .await
        .unwrap();
    assert_eq!(
        (
            reply.status.as_u16(),
            &reply.json().unwrap()["error"]["code"]
        ),
        (404, &json!(404))
    );
    let llama = ScriptedUpstream::start(Flavour::LlamaServer).unwrap();
    let reply = client_of(&llama)
        .post("/v1/chat/completions", &body)
        .await
        .unwrap();
    assert_eq!(
        (reply.status.as_u16(), &reply.json().unwrap()["model"]),
        (200, &json!("nobody"))
    );
}

#[tokio::test]
async fn model_commands_change_what_is_listed() {
    let upstream = ScriptedUpstream::builder(Flavour::Ollama)
        .model(ScriptedModel::chat("a:1b"))
        .start()
        .unwrap();
    let client = TestClient::new(upstream.address());
    let names = async || {
        let tags = client.get("/api/tags").await.unwrap().json().unwrap();
        let names: Vec<String> = tags["models"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["name"].as_str().unwrap().to_owned())
            .collect();
        names.join(",")
    };
    assert_eq!(client.get("/").await.unwrap().text(), "Ollama is running");
    assert_eq!(
        client.get("/api/ps").await.unwrap().json().unwrap(),
        json!({"models": []})
    );
    let lines = client
        .stream("/api/pull", &json!({"model": "b"}))
        .await
        .unwrap()
        .json_lines()
        .await
        .unwrap();
    assert_eq!(lines.last().unwrap()["status"], "success");
    assert_eq!(names().await, "a:1b,b:latest");
    client
        .post("/api/copy", &json!({"source": "b", "destination": "c"}))
        .await
        .unwrap();
    let delete = json!({"model": "b"}).to_string();
    client
        .send(http::Method::DELETE, "/api/delete", delete.into())
        .await
        .unwrap();
    assert_eq!(names().await, "a:1b,c:latest");
    let loaded = client
        .post("/api/generate", &json!({"model": "a:1b"}))
        .await
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(loaded["done_reason"], "load");
    let ps = client.get("/api/ps").await.unwrap().json().unwrap();
    assert_eq!(ps["models"][0]["name"], "a:1b");
}

#[tokio::test]
async fn embeddings_depend_on_the_text_only() {
    let ollama = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let vllm = ScriptedUpstream::start(Flavour::Vllm).unwrap();
    let body = json!({"model": "test-model", "input": ["wool", "grass"]});
    let one = TestClient::new(ollama.address())
        .post("/api/embed", &body)
        .await
        .unwrap()
        .json()
        .unwrap();
    let other = TestClient::new(vllm.address())
        .post("/v1/embeddings", &body)
        .await
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(one["embeddings"][0], other["data"][0]["embedding"]);
    assert_ne!(one["embeddings"][0], one["embeddings"][1]);
}
