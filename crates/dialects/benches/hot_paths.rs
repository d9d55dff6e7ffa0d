//! What every request pays here: reading the head of a 1 KB chat request, checking what passes of it, looking at a 1 KB
//! answer, and looking at one chunk of a stream. `cargo bench -p remuda-dialects`; each is meant to stay under a microsecond.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use remuda_dialects::{
    FrameSplitter, Observer, Operation, ServerKind, Target, check_passthrough, read_head,
};

/// A text of this many bytes with the quotes and line ends that answers have.
fn prose(bytes: usize) -> String {
    "Remuda keeps \\\"one address\\\" for a fleet of model servers, whatever they speak. Each request goes to the server that will \
     answer it soonest, and a stream goes on when its server is lost.\\n\\n"
        .chars()
        .cycle()
        .take(bytes)
        .collect::<String>()
        .trim_end_matches('\\')
        .to_owned()
}

fn request(bytes: usize) -> String {
    let head = r#"{"model":"llama3.2:3b","stream":false,"temperature":0.7,"messages":[{"role":"system","content":"You are brief."},{"role":"user","content":""#;
    let tail = r#""}]}"#;
    format!("{head}{}{tail}", prose(bytes - head.len() - tail.len()))
}

fn openai_answer(bytes: usize) -> String {
    let head = r#"{"id":"chatcmpl-9f2c","object":"chat.completion","created":1767323045,"model":"llama3.2:3b","system_fingerprint":"fp","choices":[{"index":0,"message":{"role":"assistant","content":""#;
    let tail = r#"","refusal":null,"tool_calls":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":26,"completion_tokens":180,"total_tokens":206,"prompt_tokens_details":{"cached_tokens":0}}}"#;
    format!("{head}{}{tail}", prose(bytes - head.len() - tail.len()))
}

fn ollama_answer(bytes: usize) -> String {
    let head = r#"{"model":"llama3.2:3b","created_at":"2026-01-02T03:04:05.000006Z","message":{"role":"assistant","content":""#;
    let tail = r#""},"done":true,"done_reason":"stop","total_duration":4883583458,"load_duration":1334875,"prompt_eval_count":26,"prompt_eval_duration":342546000,"eval_count":282,"eval_duration":4535599000}"#;
    format!("{head}{}{tail}", prose(bytes - head.len() - tail.len()))
}

fn openai_chunk(text: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-9f2c\",\"object\":\"chat.completion.chunk\",\"created\":1767323045,\"model\":\"llama3.2:3b\",\"system_fingerprint\":\"fp\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
    )
}

fn ollama_chunk(text: &str) -> String {
    format!(
        "{{\"model\":\"llama3.2:3b\",\"created_at\":\"2026-01-02T03:04:05.000006Z\",\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}},\"done\":false}}\n"
    )
}

fn heads(c: &mut Criterion) {
    let body = request(1_024);
    c.bench_function("read_head, 1 KB chat request", |b| {
        b.iter(|| read_head(Operation::OpenAiChat, black_box(body.as_bytes())).is_ok());
    });
    let target = Target {
        operation: Operation::OpenAiChat,
        server: ServerKind::Ollama,
    };
    c.bench_function("check_passthrough to Ollama, 1 KB chat request", |b| {
        b.iter(|| check_passthrough(&target, black_box(body.as_bytes())).is_ok());
    });
}

fn answers(c: &mut Criterion) {
    for (name, operation, body) in [
        ("OpenAI", Operation::OpenAiChat, openai_answer(1_024)),
        ("Ollama", Operation::OllamaChat, ollama_answer(1_024)),
    ] {
        c.bench_function(&format!("Observer::whole, 1 KB {name} answer"), |b| {
            b.iter(|| Observer::whole(operation, black_box(body.as_bytes())));
        });
    }
}

fn chunks(c: &mut Criterion) {
    for (name, operation, plain, escaped) in [
        (
            "OpenAI",
            Operation::OpenAiChat,
            openai_chunk(" token"),
            openai_chunk("\\n\\n"),
        ),
        (
            "Ollama",
            Operation::OllamaChat,
            ollama_chunk(" token"),
            ollama_chunk("\\n\\n"),
        ),
    ] {
        for (kind, chunk) in [("plain", &plain), ("with an escape", &escaped)] {
            let mut observer = Observer::new(operation).with_max_text_bytes(1_024);
            observer.frame(plain.as_bytes());
            c.bench_function(&format!("Observer::frame, {name} chunk {kind}"), |b| {
                b.iter(|| observer.frame(black_box(chunk.as_bytes())));
            });
        }
        let stream = Bytes::from(plain.repeat(64));
        c.bench_function(
            &format!("FrameSplitter, 64 chunks in one read, {name}"),
            |b| {
                b.iter(|| {
                    let mut splitter = FrameSplitter::new(operation.framing());
                    splitter.push(black_box(stream.clone()));
                    let mut frames = 0;
                    while let Ok(Some(_)) = splitter.next_frame() {
                        frames += 1;
                    }
                    frames
                });
            },
        );
    }
}

criterion_group!(hot_paths, heads, answers, chunks);
criterion_main!(hot_paths);
