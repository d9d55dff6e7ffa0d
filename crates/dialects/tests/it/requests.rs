//! A request that goes through another dialect and back says the same.

use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};
use remuda_dialects::{
    ChatRequest, Dialect, ErrorKind, Format, Message, Operation, Part, Request, Role, ServerKind,
    Target, Think, ToolChoice, decode_request, encode_request, native_operation,
};
use serde_json::{Value, json};

const CHAT_TARGETS: [Target; 4] = [
    Target {
        operation: Operation::OllamaChat,
        server: ServerKind::Ollama,
    },
    Target {
        operation: Operation::OpenAiChat,
        server: ServerKind::Vllm,
    },
    Target {
        operation: Operation::OpenAiChat,
        server: ServerKind::LlamaServer,
    },
    Target {
        operation: Operation::AnthropicMessages,
        server: ServerKind::Other,
    },
];

fn chat(operation: Operation, body: &Value) -> ChatRequest {
    match decode_request(operation, body.to_string().as_bytes()).unwrap() {
        Request::Chat(chat) => *chat,
        other => panic!("{other:?}"),
    }
}

fn through(chat: &ChatRequest, target: Target) -> ChatRequest {
    let body = encode_request(&target, &Request::Chat(Box::new(chat.clone()))).unwrap();
    match decode_request(target.operation, &body).unwrap() {
        Request::Chat(chat) => *chat,
        other => panic!("{other:?}"),
    }
}

fn encoded(operation: Operation, server: ServerKind, from: Operation, body: &Value) -> Value {
    let request = decode_request(from, body.to_string().as_bytes()).unwrap();
    let body = encode_request(&Target { operation, server }, &request).unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn refused(operation: Operation, server: ServerKind, from: Operation, body: &Value) -> String {
    let request = decode_request(from, body.to_string().as_bytes()).unwrap();
    let error = encode_request(&Target { operation, server }, &request).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    error.param.unwrap()
}

/// What every dialect can say about a message.
fn essence(message: &Message) -> (Role, String, Vec<&Part>, Vec<(&str, Value)>) {
    let images = message
        .parts
        .iter()
        .filter(|part| !matches!(part, Part::Text(_)));
    let calls = message.tool_calls.iter().map(|call| {
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        (call.name.as_str(), arguments)
    });
    (
        message.role,
        message.joined_text(),
        images.collect(),
        calls.collect(),
    )
}

fn conversation() -> impl Strategy<Value = Value> {
    let text = "[ -~\u{e4}\u{1f600}\n\"\\\\]{1,30}";
    let user = text.prop_map(|text| json!([{ "role": "user", "content": text }]));
    let seen = text.prop_map(|text| {
        json!([{ "role": "user", "content": [
            { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } },
            { "type": "text", "text": text },
        ] }])
    });
    let assistant = text.prop_map(|text| json!([{ "role": "assistant", "content": text }]));
    let called = (text, any::<i64>()).prop_map(|(text, number)| {
        let arguments = json!({ "zeta": number, "alpha": text }).to_string();
        json!([
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "call_1", "type": "function", "function": { "name": "look", "arguments": arguments } },
            ] },
            { "role": "tool", "tool_call_id": "call_1", "content": text },
        ])
    });
    let turn = prop_oneof![user, seen, assistant, called];
    (text, proptest::collection::vec(turn, 1..6)).prop_map(|(system, turns)| {
        let mut messages = vec![json!({ "role": "system", "content": system })];
        messages.extend(
            turns
                .into_iter()
                .flat_map(|turn| turn.as_array().unwrap().clone()),
        );
        messages.push(json!({ "role": "user", "content": "go on" }));
        json!(messages)
    })
}

proptest! {
    #[test]
    fn conversations_survive_every_dialect(messages in conversation(), temperature in 0.0..2.0_f64, limit in 1..9_999_i64) {
        let body = json!({
            "model": "m", "messages": messages, "temperature": temperature, "top_p": 0.5, "max_tokens": limit, "stop": ["\n\n"],
            "tools": [{ "type": "function", "function": {
                "name": "look", "description": "looks", "parameters": { "zeta": 1, "alpha": { "b": 1, "a": 2 } },
            } }],
        });
        let original = chat(Operation::OpenAiChat, &body);
        for target in CHAT_TARGETS {
            let arrived = through(&original, target);
            let before: Vec<_> = original.messages.iter().map(essence).collect();
            let after: Vec<_> = arrived.messages.iter().map(essence).collect();
            prop_assert_eq!(before, after);
            prop_assert_eq!(&original.tools, &arrived.tools);
            prop_assert_eq!(&original.generation.sampling, &arrived.generation.sampling);
        }
    }
}

#[test]
fn an_ollama_client_reaches_a_vllm_node_with_everything_it_said() {
    let schema = json!({ "type": "object", "properties": { "z": {}, "a": {} } });
    let body = json!({
        "model": "m", "messages": [{ "role": "user", "content": "hi", "images": ["iVBORw0KGgo="] }],
        "format": schema, "think": false, "keep_alive": "5m", "logprobs": true, "top_logprobs": 2,
        "options": { "num_ctx": 4096, "top_k": 4, "repeat_penalty": 1.1, "num_predict": -1, "seed": 7 },
    });
    let arrived = encoded(
        Operation::OpenAiChat,
        ServerKind::Vllm,
        Operation::OllamaChat,
        &body,
    );
    assert_eq!(
        arrived,
        json!({
            "model": "m",
            "messages": [{ "role": "user", "content": [
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } },
                { "type": "text", "text": "hi" },
            ] }],
            "stream": true, "repetition_penalty": 1.1, "seed": 7, "top_k": 4,
            "response_format": { "type": "json_schema", "json_schema": { "name": "response", "schema": schema } },
            "logprobs": true, "top_logprobs": 2, "chat_template_kwargs": { "enable_thinking": false },
        })
    );
    let properties = arrived["response_format"]["json_schema"]["schema"]["properties"].to_string();
    assert_eq!(properties, r#"{"z":{},"a":{}}"#);
}

#[test]
fn an_openai_client_reaches_an_ollama_node_with_everything_it_said() {
    let body = json!({
        "model": "m", "user": "u", "max_completion_tokens": 9, "reasoning_effort": "minimal",
        "messages": [
            { "role": "developer", "content": "be" },
            { "role": "user", "content": "what" },
            { "role": "assistant", "tool_calls": [
                { "id": "c", "type": "function", "function": { "name": "f", "arguments": "{\"z\": 1}" } },
            ] },
            { "role": "tool", "tool_call_id": "c", "content": "3" },
        ],
        "response_format": { "type": "json_object" }, "stream_options": { "include_usage": true },
    });
    let arrived = encoded(
        Operation::OllamaChat,
        ServerKind::Ollama,
        Operation::OpenAiChat,
        &body,
    );
    assert_eq!(
        arrived,
        json!({
            "model": "m",
            "messages": [
                { "role": "system", "content": "be" },
                { "role": "user", "content": "what" },
                { "role": "assistant", "content": "", "tool_calls": [
                    { "id": "c", "function": { "index": 0, "name": "f", "arguments": { "z": 1 } } },
                ] },
                { "role": "tool", "content": "3", "tool_name": "f", "tool_call_id": "c" },
            ],
            "stream": false, "format": "json", "think": "low",
            // OpenAI's defaults, not the model's.
            "options": { "temperature": 1.0, "top_p": 1.0, "num_predict": 9 },
        })
    );
}

#[test]
fn what_is_written_anew_loses_nothing_on_ollama() {
    use Operation::{
        AnthropicMessages, OllamaChat, OllamaEmbed, OllamaGenerate, OpenAiChat, OpenAiCompletions,
        OpenAiEmbeddings,
    };
    let question = json!([{ "role": "user", "content": "q" }]);
    let cases = [
        (
            OpenAiChat,
            json!({ "model": "m", "messages": question, "top_k": 4, "options": { "num_ctx": 8 } }),
            OllamaChat,
            json!({
                "model": "m", "messages": question, "stream": false,
                "options": { "num_ctx": 8, "temperature": 1.0, "top_p": 1.0, "top_k": 4 },
            }),
        ),
        (
            OpenAiCompletions,
            json!({ "model": "m", "prompt": "q", "keep_alive": "5m", "temperature": 0.5, "top_p": 0.5 }),
            OllamaGenerate,
            json!({
                "model": "m", "prompt": "q", "stream": false, "keep_alive": "5m",
                "options": { "temperature": 0.5, "top_p": 0.5 },
            }),
        ),
        (
            OpenAiEmbeddings,
            json!({ "model": "m", "input": "q", "keep_alive": "5m", "num_ctx": 8, "user": "u" }),
            OllamaEmbed,
            json!({ "model": "m", "input": ["q"], "keep_alive": "5m", "options": { "num_ctx": 8 } }),
        ),
        (
            AnthropicMessages,
            json!({
                "model": "m", "max_tokens": 5, "messages": question,
                "output_config": { "format": { "type": "json_schema", "schema": { "z": 1 } } },
            }),
            OllamaChat,
            json!({
                "model": "m", "messages": question, "stream": false, "format": { "z": 1 },
                "options": { "num_predict": 5 },
            }),
        ),
    ];
    for (from, body, operation, expected) in cases {
        let request = decode_request(from, body.to_string().as_bytes()).unwrap();
        let chosen = request.operation_on(ServerKind::Ollama, Dialect::Ollama);
        assert_eq!(chosen, operation);
        let arrived = encoded(chosen, ServerKind::Ollama, from, &body);
        assert_eq!(arrived, expected);
    }
}

#[test]
fn strict_tools_stay_strict_between_openai_and_anthropic() {
    let openai = json!({
        "model": "m", "max_tokens": 5, "messages": [{ "role": "user", "content": "q" }],
        "tools": [{ "type": "function", "function": { "name": "f", "parameters": {}, "strict": true } }],
    });
    let anthropic = encoded(
        Operation::AnthropicMessages,
        ServerKind::Other,
        Operation::OpenAiChat,
        &openai,
    );
    assert_eq!(
        anthropic["tools"],
        json!([{ "name": "f", "input_schema": {}, "strict": true }])
    );
    let back = encoded(
        Operation::OpenAiChat,
        ServerKind::Vllm,
        Operation::AnthropicMessages,
        &anthropic,
    );
    assert_eq!(back["tools"], openai["tools"]);
}

#[test]
fn calls_without_ids_are_matched_by_name_and_order() {
    let body = json!({ "model": "m", "messages": [
        { "role": "user", "content": "q" },
        { "role": "assistant", "content": "", "tool_calls": [
            { "function": { "name": "f", "arguments": { "a": 1 } } }, { "function": { "name": "g", "arguments": {} } },
        ] },
        { "role": "tool", "tool_name": "g", "content": "2" },
        { "role": "tool", "tool_name": "f", "content": "1" },
    ] });
    let arrived = encoded(
        Operation::OpenAiChat,
        ServerKind::Vllm,
        Operation::OllamaChat,
        &body,
    );
    let calls = &arrived["messages"][1]["tool_calls"];
    assert_eq!(arrived["messages"][2]["tool_call_id"], calls[1]["id"]);
    assert_eq!(arrived["messages"][3]["tool_call_id"], calls[0]["id"]);
}

#[test]
fn what_a_node_cannot_do_is_refused_by_name() {
    use Operation::{
        AnthropicMessages, OllamaChat, OllamaGenerate, OpenAiChat, OpenAiCompletions,
        OpenAiEmbeddings,
    };
    use ServerKind::{LlamaCppPython, Ollama, Other, Vllm};
    let with = |field: &str, value: Value| {
        let mut body = json!({ "model": "m", "max_tokens": 5, "messages": [{ "role": "user", "content": "q" }] });
        body[field] = value;
        body
    };
    let tool = json!([{ "type": "function", "function": { "name": "f" } }]);
    let mut forced = with("tool_choice", json!("required"));
    forced["tools"] = tool;
    let remote = json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "https://x.example/a.png" } }] }]);
    let begun =
        json!([{ "role": "user", "content": "q" }, { "role": "assistant", "content": "a" }]);
    let generate = |field: &str, value: Value| {
        let mut body = json!({ "model": "m", "prompt": "q" });
        body[field] = value;
        body
    };
    let ask = |field: &str, value: Value| {
        let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "q" }] });
        body[field] = value;
        body
    };
    let cases = [
        (OllamaChat, Ollama, OpenAiChat, with("n", json!(2)), "n"),
        (
            OllamaChat,
            Ollama,
            OpenAiChat,
            with("logit_bias", json!({ "5": 1 })),
            "logit_bias",
        ),
        (OllamaChat, Ollama, OpenAiChat, forced, "tool_choice"),
        (
            OllamaChat,
            Ollama,
            OpenAiChat,
            with("messages", remote),
            "image_url",
        ),
        (
            OllamaChat,
            Ollama,
            OpenAiChat,
            with("web_search_options", json!({})),
            "web_search_options",
        ),
        (
            OllamaChat,
            Ollama,
            OpenAiChat,
            with("store", json!(true)),
            "store",
        ),
        (
            OpenAiChat,
            Other,
            OllamaChat,
            ask("options", json!({ "top_k": 4 })),
            "top_k",
        ),
        (
            OpenAiChat,
            Vllm,
            OllamaChat,
            ask("options", json!({ "typical_p": 0.5 })),
            "typical_p",
        ),
        (
            OpenAiChat,
            LlamaCppPython,
            OllamaChat,
            json!({ "model": "m", "messages": begun }),
            "messages",
        ),
        (
            OpenAiChat,
            Vllm,
            OllamaGenerate,
            generate("template", json!("{{ .Prompt }}")),
            "template",
        ),
        (
            OpenAiCompletions,
            Vllm,
            OllamaGenerate,
            generate("suffix", json!("end")),
            "suffix",
        ),
        (
            AnthropicMessages,
            Other,
            OpenAiChat,
            with("seed", json!(1)),
            "seed",
        ),
        (
            Operation::OllamaEmbed,
            Ollama,
            OpenAiEmbeddings,
            json!({ "model": "m", "input": [1, 2] }),
            "input",
        ),
    ];
    for (operation, server, from, body, field) in cases {
        assert_eq!(refused(operation, server, from, &body), field, "{body}");
    }
}

#[test]
fn raw_completions_have_no_shape_where_only_chats_have_one() {
    use Operation::{OllamaGenerate, OpenAiCompletions};
    let raw = json!({ "model": "m", "prompt": "q", "raw": true, "format": "json" });
    let openai =
        json!({ "model": "m", "prompt": "q", "response_format": { "type": "json_object" } });
    for server in [ServerKind::LlamaServer, ServerKind::LlamaCppPython] {
        let param = refused(OpenAiCompletions, server, OllamaGenerate, &raw);
        assert_eq!(param, "format");
        let param = refused(OpenAiCompletions, server, OpenAiCompletions, &openai);
        assert_eq!(param, "response_format");
    }
    let arrived = encoded(OpenAiCompletions, ServerKind::Vllm, OllamaGenerate, &raw);
    assert_eq!(arrived["response_format"], openai["response_format"]);
}

#[test]
fn neutral_settings_are_not_refused() {
    let body = json!({
        "model": "m", "messages": [{ "role": "user", "content": "q" }],
        "options": { "repeat_penalty": 1.0, "typical_p": 1.0, "min_p": 0.0, "num_gpu": 1 },
    });
    let arrived = encoded(
        Operation::OpenAiChat,
        ServerKind::Other,
        Operation::OllamaChat,
        &body,
    );
    assert_eq!(
        arrived,
        json!({ "model": "m", "messages": [{ "role": "user", "content": "q" }], "stream": true })
    );
}

#[test]
fn fields_we_do_not_know_stay_when_the_route_stays() {
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "q" }], "brand_new": { "z": 1, "a": "12345678901234567890123" } });
    let arrived = encoded(
        Operation::OpenAiChat,
        ServerKind::Vllm,
        Operation::OpenAiChat,
        &body,
    );
    assert_eq!(
        arrived["brand_new"].to_string(),
        body["brand_new"].to_string()
    );
}

#[test]
fn anthropic_clients_reach_openai_nodes() {
    let body = json!({
        "model": "m", "max_tokens": 5, "system": "be", "stop_sequences": ["x"], "metadata": { "user_id": "u" },
        "tools": [{ "name": "f", "input_schema": { "type": "object" } }], "tool_choice": { "type": "tool", "name": "f" },
        "thinking": { "type": "enabled", "budget_tokens": 2000 },
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": "q" }] }],
    });
    let arrived = chat(Operation::AnthropicMessages, &body);
    assert_eq!(arrived.tool_choice, Some(ToolChoice::Named("f".to_owned())));
    assert_eq!(arrived.generation.think, Some(Think::On));
    let arrived = through(&arrived, CHAT_TARGETS[1]);
    assert_eq!(arrived.messages[0], Message::text(Role::System, "be"));
    assert_eq!(arrived.tool_choice, Some(ToolChoice::Named("f".to_owned())));
    assert_eq!(arrived.generation.sampling.stop, ["x"]);
}

#[test]
fn schemas_reach_every_dialect_word_for_word() {
    let text =
        r#"{"type":"object","properties":{"z":{"maximum":123456789012345678901234567890},"a":{}}}"#;
    let body = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"q"}}],"response_format":{{"type":"json_schema","json_schema":{{"schema":{text}}}}}}}"#
    );
    let request = decode_request(Operation::OpenAiChat, body.as_bytes()).unwrap();
    for target in CHAT_TARGETS {
        let body = encode_request(&target, &request).unwrap();
        let Request::Chat(arrived) = decode_request(target.operation, &body).unwrap() else {
            panic!()
        };
        let Some(Format::Schema { schema, .. }) = arrived.generation.format else {
            panic!()
        };
        assert_eq!(schema.text(), text);
    }
}

#[test]
fn every_operation_finds_a_route_on_every_node() {
    use Operation::{
        OllamaChat, OllamaEmbed, OllamaGenerate, OpenAiChat, OpenAiEmbeddings, OpenAiResponses,
    };
    let (ollama, openai) = (Dialect::Ollama, Dialect::OpenAi);
    let cases = [
        (OllamaChat, ServerKind::Ollama, ollama, OllamaChat),
        (OllamaChat, ServerKind::Vllm, openai, OpenAiChat),
        (OllamaGenerate, ServerKind::Vllm, openai, OpenAiChat),
        (OllamaEmbed, ServerKind::Other, openai, OpenAiEmbeddings),
        (OpenAiChat, ServerKind::Ollama, ollama, OpenAiChat),
        (OpenAiResponses, ServerKind::Vllm, openai, OpenAiResponses),
        (
            OpenAiResponses,
            ServerKind::LlamaCppPython,
            openai,
            OpenAiChat,
        ),
        (
            OpenAiChat,
            ServerKind::Other,
            Dialect::Anthropic,
            Operation::AnthropicMessages,
        ),
        (
            Operation::AnthropicMessages,
            ServerKind::Other,
            openai,
            OpenAiChat,
        ),
    ];
    for (client, server, node, expected) in cases {
        assert_eq!(native_operation(client, server, node), expected);
    }
}
