//! What clients send, and what of it is refused.

use crate::{
    EmbedInput, Encoding, ErrorKind, Format, Operation, Part, Request, Think, ToolChoice,
    decode_request,
};

#[test]
fn a_chat_request_is_read_whole() {
    let body = br#"{"model":"m","messages":[{"role":"developer","content":"be"},
        {"role":"user","content":[{"type":"text","text":"what"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA==","detail":"low"}},
         {"type":"image_url","image_url":{"url":"https://x.example/a.png"}}]},
        {"role":"assistant","content":null,"refusal":null,"reasoning_content":"hm","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"z\":1}"}}]},
        {"role":"tool","tool_call_id":"c","content":"3"}],
        "tools":[{"type":"function","function":{"name":"f","parameters":{"z":1,"a":2},"strict":true}}],
        "tool_choice":{"type":"function","function":{"name":"f"}},"max_completion_tokens":9,"stop":["a"],"n":1,
        "response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"b":1,"a":2}}},
        "reasoning_effort":"none","logprobs":true,"top_logprobs":3,"stream_options":{"include_usage":true},"user":"u","top_k":4}"#;
    let Request::Chat(chat) = decode_request(Operation::OpenAiChat, body).unwrap() else {
        panic!()
    };
    assert!(matches!(&chat.messages[1].parts[1], Part::Image { data, .. } if data == "AA=="));
    assert!(matches!(&chat.messages[1].parts[2], Part::ImageUrl { .. }));
    assert_eq!(chat.messages[2].thinking.as_deref(), Some("hm"));
    assert_eq!(chat.messages[2].tool_calls[0].arguments, "{\"z\":1}");
    assert_eq!(chat.tool_choice, Some(ToolChoice::Named("f".into())));
    let generation = &chat.generation;
    assert!(
        matches!(&generation.format, Some(Format::Schema { schema, .. }) if schema.text() == r#"{"b":1,"a":2}"#)
    );
    assert_eq!(generation.think, Some(Think::Off));
    assert_eq!(
        (generation.sampling.max_tokens, generation.sampling.top_k),
        (Some(9), Some(4))
    );
    assert!(generation.include_usage && !generation.stream);
    assert_eq!(generation.extensions.find("user").unwrap().text(), "\"u\"");
}

#[test]
fn wrong_requests_are_refused_with_the_field() {
    let cases = [
        (
            Operation::OpenAiChat,
            r#"{"model":"m","messages":[]}"#,
            "messages",
        ),
        (
            Operation::OpenAiChat,
            r#"{"messages":[{"role":"user","content":"a"}]}"#,
            "model",
        ),
        (
            Operation::OpenAiChat,
            r#"{"model":"m","messages":[{"role":"king"}]}"#,
            "messages",
        ),
        (
            Operation::OpenAiChat,
            r#"{"model":"m","messages":"hi"}"#,
            "messages",
        ),
        (
            Operation::OpenAiChat,
            r#"{"model":"m","temperature":"hot","messages":[]}"#,
            "temperature",
        ),
        (Operation::OpenAiCompletions, r#"{"model":"m"}"#, "prompt"),
        (
            Operation::OpenAiEmbeddings,
            r#"{"model":"m","input":"a","encoding_format":"hex"}"#,
            "encoding_format",
        ),
        (
            Operation::OpenAiEmbeddings,
            r#"{"model":"m","input":[]}"#,
            "input",
        ),
    ];
    for (operation, body, param) in cases {
        let error = decode_request(operation, body.as_bytes()).unwrap_err();
        assert_eq!(
            (error.kind, error.param.as_deref()),
            (ErrorKind::Invalid, Some(param)),
            "{body}"
        );
    }
    let empty =
        decode_request(Operation::OpenAiChat, br#"{"model":"m","messages":[]}"#).unwrap_err();
    assert_eq!(empty.message, "[] is too short - 'messages'");
}

#[test]
fn inputs_may_be_texts_or_tokens() {
    let embed =
        |body: &str| match decode_request(Operation::OpenAiEmbeddings, body.as_bytes()).unwrap() {
            Request::Embed(embed) => *embed,
            other => panic!("{other:?}"),
        };
    let tokens = embed(r#"{"model":"m","input":[[1,2],[3]],"encoding_format":"base64"}"#);
    assert_eq!(
        tokens.inputs,
        [EmbedInput::Tokens(vec![1, 2]), EmbedInput::Tokens(vec![3])]
    );
    assert_eq!(tokens.encoding, Encoding::Base64);
    assert_eq!(
        embed(r#"{"model":"m","input":"a"}"#).inputs,
        [EmbedInput::Text("a".into())]
    );
}
