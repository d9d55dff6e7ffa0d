//! Recorded requests replayed without a server.

use std::fmt::Write as _;

use crate::harness::{Home, json, one_line_refusal, succeed};

/// Two nodes that serve what scripted upstreams serve.
pub(crate) const FLEET: &str = r#"
[[models]]
name = "test-model"

[[nodes]]
name = "gpu"
count = 2
prefill_tokens_per_s = 5000
decode_tokens_per_s = 50
slots = 4
cache_tokens = 100000
"#;

/// Two hundred requests, one every half second.
fn trace() -> String {
    let mut trace = "TIMESTAMP,ContextTokens,GeneratedTokens\n".to_owned();
    for number in 0..200 {
        let (second, half) = (number / 2, number % 2 * 5);
        let (minute, second) = (second / 60, second % 60);
        writeln!(
            trace,
            "2026-01-31 12:{minute:02}:{second:02}.{half}000000,{},{}",
            200 + number,
            20 + number % 50
        )
        .unwrap();
    }
    trace
}

#[test]
fn policies_are_compared_in_a_table_in_json_and_in_a_picture() {
    let home = Home::new();
    let (trace, fleet) = (
        home.write("trace.csv", &trace()),
        home.write("fleet.toml", FLEET),
    );
    let picture = home.path("picture.svg");
    let simulate = || {
        let mut command = home.remuda(["simulate", "--policy", "remuda,least_load"]);
        command.arg("--trace").arg(&trace);
        command.arg("--fleet").arg(&fleet);
        command
    };
    let table = succeed(simulate().arg("--plot").arg(&picture));
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("policy"), "{table}");
    assert!(rows[1].starts_with("remuda "), "{table}");
    assert!(rows[2].starts_with("least_load "), "{table}");
    let picture = std::fs::read_to_string(picture).unwrap();
    assert!(picture.starts_with("<svg "), "{picture}");

    let reports = json(&mut simulate());
    assert_eq!(reports[0]["policy"], "remuda");
    assert_eq!(reports[0]["served"], 200);
    assert_eq!(reports, json(&mut simulate()), "not the same figures twice");
    assert_ne!(reports, json(simulate().args(["--rate", "20"])));
}

#[test]
fn what_cannot_be_replayed_is_one_clear_line() {
    let home = Home::new();
    let (trace, fleet) = (
        home.write("trace.csv", &trace()),
        home.write("fleet.toml", FLEET),
    );
    let broken = home.write("broken.toml", "[[nodes]]\nname = 7\n");
    let no_trace = home.write("no-trace.txt", "hello\n");
    let simulate = |trace: &std::path::Path, fleet: &std::path::Path| {
        let mut command = home.remuda(["simulate"]);
        command.arg("--trace").arg(trace);
        command.arg("--fleet").arg(fleet);
        command
    };
    let line = one_line_refusal(&mut simulate(&home.path("nowhere"), &fleet), 2);
    assert!(
        line.contains("nowhere") && line.contains("--trace"),
        "{line}"
    );
    let line = one_line_refusal(&mut simulate("/dev/stdin".as_ref(), &fleet), 2);
    assert!(line.contains("no regular file"), "{line}");
    let line = one_line_refusal(&mut simulate(&trace, &broken), 2);
    assert!(line.contains("broken.toml"), "{line}");
    let line = one_line_refusal(&mut simulate(&no_trace, &fleet), 1);
    assert!(line.contains("not a trace"), "{line}");
    let line = one_line_refusal(simulate(&trace, &fleet).args(["--policy", "best"]), 2);
    assert!(line.contains("least_load"), "{line}");
}
