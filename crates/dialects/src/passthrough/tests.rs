//! Which requests pass, which go by Ollama's own route, and which are refused.

use super::{Rewrite, check_passthrough};
use crate::{ApiError, ErrorKind, Operation, ServerKind, Target, decode_request, encode_request};
use Operation::{
    AnthropicMessages, OllamaChat, OllamaEmbed, OllamaGenerate, OpenAiChat, OpenAiCompletions,
    OpenAiEmbeddings, OpenAiResponses,
};

const ALL: [Operation; 5] = [
    OpenAiChat,
    OpenAiCompletions,
    OpenAiEmbeddings,
    OpenAiResponses,
    AnthropicMessages,
];

const fn ollama(operation: Operation) -> Target {
    Target {
        operation,
        server: ServerKind::Ollama,
    }
}

/// A request that says no more than it must, and these fields.
fn with(operation: Operation, fields: &str) -> String {
    let prompt = match operation {
        OpenAiChat => r#""messages":[{"role":"user","content":"q"}]"#,
        OpenAiCompletions => r#""prompt":"q""#,
        AnthropicMessages => r#""max_tokens":9,"messages":[{"role":"user","content":"q"}]"#,
        _ => r#""input":"q""#,
    };
    format!(r#"{{"model":"m",{prompt},{fields}}}"#)
}

fn check(operation: Operation, fields: &str) -> Result<Rewrite, ApiError> {
    check_passthrough(&ollama(operation), with(operation, fields).as_bytes())
}

/// What Ollama gets when the fields make the request go by its own route.
fn translated(operation: Operation, fields: &str) -> (Operation, serde_json::Value) {
    let body = with(operation, fields);
    let Ok(Rewrite::Translate(target)) = check_passthrough(&ollama(operation), body.as_bytes())
    else {
        panic!("{body} is not translated")
    };
    let request = decode_request(operation, body.as_bytes()).unwrap();
    let body = encode_request(&target, &request).unwrap();
    (target.operation, serde_json::from_slice(&body).unwrap())
}

#[test]
fn other_servers_are_left_alone() {
    let vllm = Target {
        server: ServerKind::Vllm,
        ..ollama(OpenAiChat)
    };
    assert_eq!(
        check_passthrough(&vllm, br#"{"n":3}"#),
        Ok(Rewrite::Unchanged)
    );
}

#[test]
fn what_the_routes_read_and_what_changes_nothing_passes() {
    let cases: &[(Operation, &[&str])] = &[
        (
            OpenAiChat,
            &[
                r#""temperature":1,"top_p":0.5,"seed":1,"stop":["a"],"max_tokens":5,"frequency_penalty":1,"presence_penalty":1"#,
                r#""response_format":{"type":"json_object"},"reasoning_effort":"low","logprobs":true,"top_logprobs":2"#,
                r#""stream":true,"stream_options":{"include_usage":true},"tools":[{"type":"function","function":{"name":"f","strict":true}}]"#,
                r#""user":"u","metadata":{"a":"b"},"service_tier":"auto","prompt_cache_key":"k","safety_identifier":"s","prediction":{}"#,
                r#""store":false,"n":1,"logit_bias":{},"tool_choice":"auto","parallel_tool_calls":true,"modalities":["text"],"verbosity":"medium""#,
                r#""functions":[],"function_call":"auto","think":true,"min_tokens":0,"ignore_eos":false,"length_penalty":1.0,"chat_template_kwargs":{}"#,
                r#""continue_final_message":false,"add_generation_prompt":true,"best_of":1,"echo":false,"n":null,"top_k":null"#,
                // Without tools there is nothing to call one by one.
                r#""parallel_tool_calls":false"#,
                r#""parallel_tool_calls":false,"tools":[]"#,
                // Ollama may know it.
                r#""brand_new":1"#,
                // A text may name anything, and so may what lies deeper.
                r#""metadata":{"top_k":1,"n":2},"user":"\"n\": 2, \"top_k\": 1""#,
            ],
        ),
        (
            OpenAiCompletions,
            &[
                r#""suffix":"s","logprobs":1,"best_of":1,"echo":false,"n":1,"user":"u","max_tokens":4,"raw":false"#,
                r#""stream":true,"stream_options":{"include_usage":true},"use_beam_search":false"#,
            ],
        ),
        (
            OpenAiEmbeddings,
            &[r#""dimensions":8,"encoding_format":"base64","user":"u","truncate":true"#],
        ),
        (
            OpenAiResponses,
            &[
                r#""instructions":"i","max_output_tokens":5,"temperature":1,"reasoning":{"effort":"low","summary":"auto"}"#,
                r#""text":{"format":{"type":"json_object"},"verbosity":"medium"},"truncation":"auto","top_logprobs":0"#,
                r#""store":false,"background":false,"include":["reasoning.encrypted_content"],"prompt_cache_key":"k","user":"u""#,
                r#""tools":[{"type":"function","name":"f"},{"type":"web_search"}],"tool_choice":"auto","parallel_tool_calls":false"#,
                r#""previous_response_id":null,"conversation":null,"stream_options":{"include_obfuscation":false}"#,
                r#""frequency_penalty":0,"presence_penalty":0.0"#,
            ],
        ),
        (
            AnthropicMessages,
            &[
                r#""system":"s","temperature":1,"top_p":1,"top_k":4,"stop_sequences":["a"],"thinking":{"type":"enabled","budget_tokens":2000}"#,
                r#""output_config":{"effort":"low"},"metadata":{"user_id":"u"},"service_tier":"auto","context_management":{"edits":[]}"#,
                r#""tools":[{"name":"f","input_schema":{}},{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"auto"}"#,
                r#""tool_choice":{"type":"auto","disable_parallel_tool_use":false},"mcp_servers":[]"#,
                r#""tools":[{"type":"custom","name":"of_2024","description":"as \"bash_20250124\""}]"#,
                r#""messages":[{"role":"user","content":[{"type":"text","text":"document"}]},{"role":"user","content":"a \"document\""}]"#,
            ],
        ),
    ];
    for (operation, bodies) in cases {
        for fields in *bodies {
            let outcome = check(*operation, fields);
            assert_eq!(outcome, Ok(Rewrite::Unchanged), "{operation:?} {fields}");
        }
    }
}

/// What Ollama does on none of its routes.
const NOWHERE: &[(Operation, &[(&str, &str)])] = &[
    (
        OpenAiChat,
        &[
            ("n", "2"),
            ("best_of", "2"),
            ("echo", "true"),
            ("logit_bias", r#"{"5":1}"#),
            ("tool_choice", r#""required""#),
            (
                "tool_choice",
                r#"{"type":"function","function":{"name":"f"}}"#,
            ),
            (
                "tool_choice",
                r#"{"type":"function","function":{"name":"auto"}}"#,
            ),
            ("functions", r#"[{"name":"f"}]"#),
            ("function_call", r#"{"name":"f"}"#),
            ("modalities", r#"["text","audio"]"#),
            ("audio", r#"{"voice":"alloy"}"#),
            ("store", "true"),
            ("verbosity", r#""low""#),
            ("web_search_options", "{}"),
            ("moderation", "{}"),
            ("think", "false"),
            ("format", r#""json""#),
            ("guided_json", "{}"),
            ("guided_regex", r#""a+""#),
            ("structured_outputs", r#"{"choice":["a"]}"#),
            ("grammar", r#""root ::= a""#),
            ("chat_template", r#""t""#),
            ("chat_template_kwargs", r#"{"enable_thinking":false}"#),
            ("min_tokens", "5"),
            ("length_penalty", "1.5"),
            ("stop_token_ids", "[1]"),
            ("bad_words", r#"["a"]"#),
            ("ignore_eos", "true"),
            ("mirostat", "2"),
            ("num_predict", "5"),
            ("prompt_logprobs", "1"),
        ],
    ),
    (
        OpenAiCompletions,
        &[
            ("n", "2"),
            ("best_of", "3"),
            ("echo", "true"),
            ("logit_bias", r#"{"5":1}"#),
            ("use_beam_search", "true"),
            ("raw", "true"),
            ("system", r#""s""#),
            ("template", r#""t""#),
        ],
    ),
    (
        OpenAiEmbeddings,
        &[
            ("truncate", "false"),
            ("truncate_prompt_tokens", "5"),
            ("input_type", r#""query""#),
        ],
    ),
    (
        OpenAiResponses,
        &[
            ("previous_response_id", r#""resp_1""#),
            ("conversation", r#""conv_1""#),
            ("conversation", r#"{"id":"conv_1"}"#),
            ("background", "true"),
            ("store", "true"),
            ("prompt", r#"{"id":"pmpt_1"}"#),
            ("tool_choice", r#""required""#),
            ("tool_choice", r#"{"type":"function","name":"f"}"#),
            (
                "tool_choice",
                r#"{"type":"allowed_tools","mode":"auto","tools":[]}"#,
            ),
            ("top_logprobs", "3"),
            ("include", r#"["message.output_text.logprobs"]"#),
            ("max_tool_calls", "1"),
            ("n", "2"),
            ("logit_bias", r#"{"5":1}"#),
            ("response_format", r#"{"type":"json_object"}"#),
            ("context_management", r#"[{"type":"compaction"}]"#),
            ("tools", r#"[{"type":"file_search","vector_store_ids":[]}]"#),
            ("tools", r#"[{"type":"mcp","server_label":"x"}]"#),
            (
                "input",
                r#"[{"role":"user","content":[{"type":"input_image","file_id":"f"}]}]"#,
            ),
        ],
    ),
    (
        AnthropicMessages,
        &[
            ("tool_choice", r#"{"type":"any"}"#),
            ("tool_choice", r#"{"type":"tool","name":"auto"}"#),
            (
                "tool_choice",
                r#"{"type":"auto","disable_parallel_tool_use":true}"#,
            ),
            ("mcp_servers", r#"[{"type":"url"}]"#),
            ("container", r#""c""#),
            ("output_format", r#"{"type":"json_schema","schema":{}}"#),
            ("keep_alive", r#""5m""#),
            ("options", r#"{"num_ctx":8}"#),
            ("seed", "1"),
            ("min_p", "0.1"),
            ("tools", r#"[{"type":"bash_20250124","name":"bash"}]"#),
            (
                "messages",
                r#"[{"role":"user","content":[{"type":"document","source":{}}]}]"#,
            ),
            (
                "messages",
                r#"[{"role":"user","content":[{"type":"tool_result","content":[{"type":"search_result"}]}]}]"#,
            ),
        ],
    ),
];

#[test]
fn what_ollama_does_nowhere_is_refused_by_name() {
    const TOOLS: &str = r#""tools":[{"type":"function","function":{"name":"f"}}]"#;
    for (operation, fields) in NOWHERE {
        for (name, value) in *fields {
            let error = check(*operation, &format!("\"{name}\":{value}")).unwrap_err();
            assert_eq!(
                (error.kind, error.param.as_deref()),
                (ErrorKind::Unsupported, Some(*name)),
                "{operation:?} {name}: {value}"
            );
        }
    }
    let error = check(
        OpenAiChat,
        &format!(r#""parallel_tool_calls":false,{TOOLS}"#),
    )
    .unwrap_err();
    assert_eq!(error.param.as_deref(), Some("parallel_tool_calls"));
    let error = check(OpenAiResponses, r#""previous_response_id":"resp_1""#).unwrap_err();
    assert!(error.message.contains("send the whole conversation"));
}

#[test]
fn what_ollamas_own_routes_honour_goes_there() {
    let options: &[(&str, &str, &str)] = &[
        ("top_k", "4", "top_k"),
        ("min_p", "0.5", "min_p"),
        ("typical_p", "0.5", "typical_p"),
        ("repeat_penalty", "1.5", "repeat_penalty"),
        ("repetition_penalty", "1.5", "repeat_penalty"),
        ("repeat_last_n", "64", "repeat_last_n"),
        ("num_ctx", "8192", "num_ctx"),
    ];
    for (operation, own) in [
        (OpenAiChat, OllamaChat),
        (OpenAiCompletions, OllamaGenerate),
        (OpenAiResponses, OllamaChat),
    ] {
        for (name, value, option) in options {
            let (target, body) = translated(operation, &format!("\"{name}\":{value}"));
            assert_eq!(target, own);
            assert_eq!(
                body["options"][option].to_string(),
                *value,
                "{operation:?} {name}"
            );
            // As on the route that the request would have passed to.
            assert_eq!(body["options"]["temperature"], 1.0);
        }
    }
    for (operation, own) in [
        (OpenAiChat, OllamaChat),
        (OpenAiCompletions, OllamaGenerate),
        (OpenAiResponses, OllamaChat),
        (OpenAiEmbeddings, OllamaEmbed),
    ] {
        let (target, body) = translated(operation, r#""keep_alive":"9m","options":{"num_gpu":1}"#);
        assert_eq!(target, own);
        assert_eq!(body["keep_alive"], "9m", "{operation:?}");
        assert_eq!(body["options"]["num_gpu"], 1, "{operation:?}");
    }
    let only: &[(Operation, &str, &str, &str)] = &[
        (
            OpenAiCompletions,
            r#""response_format":{"type":"json_object"}"#,
            "/format",
            r#""json""#,
        ),
        (
            OpenAiCompletions,
            r#""reasoning_effort":"none""#,
            "/think",
            "false",
        ),
        (OpenAiResponses, r#""seed":7"#, "/options/seed", "7"),
        (
            OpenAiResponses,
            r#""stop":"x""#,
            "/options/stop",
            r#"["x"]"#,
        ),
        (
            OpenAiResponses,
            r#""presence_penalty":0.5"#,
            "/options/presence_penalty",
            "0.5",
        ),
        (
            OpenAiResponses,
            r#""max_tokens":5"#,
            "/options/num_predict",
            "5",
        ),
        (
            OpenAiResponses,
            r#""reasoning_effort":"low""#,
            "/think",
            r#""low""#,
        ),
        (
            AnthropicMessages,
            r#""output_config":{"format":{"type":"json_schema","schema":{"z":1,"a":2}}}"#,
            "/format",
            r#"{"z":1,"a":2}"#,
        ),
    ];
    for (operation, fields, place, value) in only {
        let (_, body) = translated(*operation, fields);
        let found = body.pointer(place).map(ToString::to_string);
        assert_eq!(found.as_deref(), Some(*value), "{operation:?} {fields}");
    }
}

#[test]
fn not_to_call_is_to_offer_no_tools() {
    for (operation, fields) in [
        (
            OpenAiChat,
            r#""tool_choice":"none","tools":[{"type":"function","function":{"name":"f"}}]"#,
        ),
        (
            OpenAiResponses,
            r#""tool_choice":"none","tools":[{"type":"function","name":"f"}]"#,
        ),
        (
            AnthropicMessages,
            r#""tool_choice":{"type":"none"},"tools":[{"name":"f","input_schema":{}}]"#,
        ),
    ] {
        let (target, body) = translated(operation, fields);
        assert_eq!(target, OllamaChat);
        assert_eq!(body.get("tools"), None, "{operation:?}");
    }
}

#[test]
fn a_completion_keeps_its_template_and_defaults_on_the_other_route() {
    let (_, body) = translated(
        OpenAiCompletions,
        r#""top_k":4,"suffix":"s","max_tokens":5"#,
    );
    assert_eq!(
        body,
        serde_json::json!({
            "model": "m", "prompt": "q", "suffix": "s", "stream": false,
            "options": { "temperature": 1.0, "top_p": 1.0, "top_k": 4, "num_predict": 5 },
        })
    );
    let (_, body) = translated(
        OpenAiCompletions,
        r#""top_k":4,"temperature":0.5,"top_p":0.25"#,
    );
    assert_eq!(
        (&body["options"]["temperature"], &body["options"]["top_p"]),
        (&0.5.into(), &0.25.into())
    );
}

#[test]
fn only_an_answer_that_was_begun_is_continued() {
    let begun = r#""messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"continue_final_message":true,"add_generation_prompt":false"#;
    let (_, body) = translated(OpenAiChat, begun);
    assert_eq!(body["messages"][1]["content"], "a");
    for (fields, name) in [
        (r#""continue_final_message":true"#, "continue_final_message"),
        (r#""add_generation_prompt":false"#, "add_generation_prompt"),
    ] {
        let refused = check(OpenAiChat, fields).and_then(|rewrite| {
            let Rewrite::Translate(target) = rewrite else {
                panic!("{fields} passes")
            };
            let request = decode_request(OpenAiChat, with(OpenAiChat, fields).as_bytes())?;
            encode_request(&target, &request)
        });
        assert_eq!(refused.unwrap_err().param.as_deref(), Some(name));
    }
}

#[test]
fn the_new_name_of_the_token_limit_is_understood() {
    for operation in [OpenAiChat, OpenAiCompletions] {
        let body = br#" {"model":"m","max_completion_tokens":7}"#;
        let Ok(Rewrite::Body(body)) = check_passthrough(&ollama(operation), body) else {
            panic!()
        };
        assert_eq!(
            body,
            r#" {"max_tokens":7,"model":"m","max_completion_tokens":7}"#
        );
    }
    let both = br#"{"max_completion_tokens":7,"max_tokens":7}"#;
    assert_eq!(
        check_passthrough(&ollama(OpenAiChat), both),
        Ok(Rewrite::Unchanged)
    );
}

#[test]
fn what_is_no_object_is_refused() {
    for operation in ALL {
        for body in ["", "[]", "{\"n\":1", "{\"n\":1} x"] {
            let error = check_passthrough(&ollama(operation), body.as_bytes()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{body}");
        }
    }
}

#[test]
fn base64_is_made_here_where_the_server_cannot() {
    let target = Target {
        operation: OpenAiEmbeddings,
        server: ServerKind::LlamaCppPython,
    };
    let body = br#"{"model":"m","input":"a","encoding_format":"base64"}"#;
    assert_eq!(
        check_passthrough(&target, body),
        Ok(Rewrite::Translate(target))
    );
}

/// What another server gets of a request that does not pass, or why it is refused.
fn sent_to(
    server: ServerKind,
    operation: Operation,
    body: &str,
) -> Result<Option<(Operation, serde_json::Value)>, String> {
    let target = Target { operation, server };
    match check_passthrough(&target, body.as_bytes()).unwrap() {
        Rewrite::Unchanged => Ok(None),
        Rewrite::Translate(target) => {
            let request = decode_request(operation, body.as_bytes()).unwrap();
            let body = encode_request(&target, &request).map_err(|error| error.message)?;
            let body = serde_json::from_slice(&body).unwrap();
            Ok(Some((target.operation, body)))
        }
        other @ Rewrite::Body(_) => panic!("{other:?}"),
    }
}

#[test]
fn llama_cpp_python_gets_what_it_knows() {
    let chat = |fields: &str| {
        let body = with(OpenAiChat, fields);
        sent_to(ServerKind::LlamaCppPython, OpenAiChat, &body)
    };
    assert_eq!(chat(r#""max_tokens":5"#), Ok(None));
    let (_, limited) = chat(r#""max_completion_tokens":5"#).unwrap().unwrap();
    assert_eq!(limited["max_tokens"], 5);
    assert!(limited.get("max_completion_tokens").is_none());
    let format = r#""response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}"#;
    let (_, shaped) = chat(format).unwrap().unwrap();
    assert_eq!(
        shaped["response_format"],
        serde_json::json!({"type": "json_object", "schema": {"type": "object"}})
    );
    let body = r#"{"model":"m","messages":[{"role":"developer","content":"d"},{"role":"user","content":"q"},
        {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"c","content":"r"}]}"#;
    let (_, turns) = sent_to(ServerKind::LlamaCppPython, OpenAiChat, body)
        .unwrap()
        .unwrap();
    assert_eq!(turns["messages"][0]["role"], "system");
    assert_eq!(turns["messages"][2]["content"], "");
    assert_eq!(turns["messages"][2]["tool_calls"][0]["id"], "c");
}

#[test]
fn vectors_of_another_length_are_refused_where_they_would_come_in_full() {
    for server in [ServerKind::LlamaServer, ServerKind::LlamaCppPython] {
        let body = with(OpenAiEmbeddings, r#""dimensions":16"#);
        let refused = sent_to(server, OpenAiEmbeddings, &body).unwrap_err();
        assert!(refused.contains("dimensions"), "{refused}");
        let body = with(OpenAiEmbeddings, r#""dimensions":null"#);
        assert!(sent_to(server, OpenAiEmbeddings, &body).is_ok());
    }
    let body = with(OpenAiEmbeddings, r#""dimensions":16"#);
    let passed = sent_to(ServerKind::Vllm, OpenAiEmbeddings, &body);
    assert_eq!(passed, Ok(None));
}

#[test]
fn an_answer_that_was_begun_goes_on_by_chat() {
    let begun = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"},
        {"role":"assistant","content":[{"type":"text","text":"Once"}]}]}"#;
    for server in [ServerKind::Vllm, ServerKind::LlamaServer] {
        let (operation, body) = sent_to(server, AnthropicMessages, begun).unwrap().unwrap();
        assert_eq!(operation, OpenAiChat);
        assert_eq!(body["continue_final_message"], true);
        assert_eq!(body["messages"][1]["content"], "Once");
        let asked = with(AnthropicMessages, r#""top_k":3"#);
        assert_eq!(sent_to(server, AnthropicMessages, &asked), Ok(None));
    }
}
