//! Foreign bytes never panic, and what is accepted is what a JSON parser accepts.

use bytes::Bytes;
use proptest::prelude::{Strategy, any, prop_assert, prop_oneof, proptest};
use remuda_dialects::{
    Dialect, Observer, Operation, ResponseDecoder, ServerKind, Target, check_passthrough,
    decode_error, decode_request, decode_whole, encode_request, read_head,
};

/// JSON that has the right names and wrong everything else.
fn confused_json() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "model|messages|prompt|input|tools|choices|delta|message|content|type|role|function|arguments",
        "done|error|usage|options|index|text|response|item|tool_calls|stream|format|images|embedding",
    ];
    let leaf = prop_oneof![
        "null|true|-1|1e999|\"\"|\"user\"|\"text\"|\"message_start\"|\"response.completed\"|\"data:,\"|[0-9]{1,3}",
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec((name.clone(), inner), 0..4).prop_map(|fields| {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("\"{name}\":{value}"))
                    .collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

fn feed(operation: Operation, bytes: &[u8]) {
    let accepted = decode_request(operation, bytes);
    if let Ok(request) = &accepted {
        for target in Operation::ALL {
            for server in [ServerKind::Ollama, ServerKind::Vllm, ServerKind::Other] {
                let target = Target {
                    operation: target,
                    server,
                };
                if let Ok(body) = encode_request(&target, request) {
                    assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok());
                }
            }
        }
    }
    let mut events = Vec::new();
    let mut decoder = ResponseDecoder::new(operation);
    decoder.push(bytes, &mut events);
    decoder.push(
        &[b"data: ".as_slice(), bytes, b"\n\n".as_slice()].concat(),
        &mut events,
    );
    let mut observer = Observer::new(operation);
    observer.frame(bytes);
    Observer::whole(operation, bytes);
    if decode_whole(operation, 200, bytes).is_ok() {
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        for operation in Operation::ALL {
            feed(operation, &bytes);
        }
        for dialect in [Dialect::Ollama, Dialect::OpenAi, Dialect::Anthropic] {
            prop_assert!(!decode_error(dialect, 500, &bytes).message.is_empty());
        }
    }

    #[test]
    fn confused_json_is_survived(json in confused_json()) {
        for operation in Operation::ALL {
            feed(operation, json.as_bytes());
            let valid = serde_json::from_str::<serde_json::Value>(&json).is_ok_and(|value| value.is_object());
            prop_assert!(valid || read_head(operation, json.as_bytes()).is_err() || json.contains("1e999"));
            let target = Target { operation, server: ServerKind::Ollama };
            if let Err(error) = check_passthrough(&target, json.as_bytes()) {
                prop_assert!(!error.message.is_empty());
            }
        }
    }
}

#[test]
fn long_nesting_is_refused_instead_of_overflowing_the_stack() {
    let deep = Bytes::from("[".repeat(100_000));
    for operation in Operation::ALL {
        assert!(read_head(operation, &deep).is_err());
        assert!(decode_request(operation, &deep).is_err());
        let nested = format!("{{\"model\":\"m\",\"messages\":{}", "[".repeat(100_000));
        assert!(read_head(operation, nested.as_bytes()).is_err());
    }
}
