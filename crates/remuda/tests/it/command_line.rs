//! Help, completions, the manual, and usage errors.

use crate::harness::{Home, one_line_refusal, succeed};

const COMMANDS: [&str; 30] = [
    "up",
    "setup",
    "login",
    "logout",
    "register",
    "password",
    "totp",
    "whoami",
    "session",
    "user",
    "invitation",
    "audit",
    "key",
    "node",
    "models",
    "show",
    "ps",
    "pull",
    "rm",
    "cp",
    "run",
    "chat",
    "requests",
    "why",
    "simulate",
    "status",
    "doctor",
    "completions",
    "man",
    "help",
];

#[test]
fn help_lists_every_command_with_examples() {
    let help = succeed(&mut Home::new().remuda(["--help"]));
    for command in COMMANDS {
        assert!(
            help.lines()
                .any(|line| line.trim_start().starts_with(command)),
            "{command} is missing:\n{help}"
        );
    }
    assert!(help.contains("Examples:") && help.contains("Exit codes:"));
}

#[test]
fn every_command_explains_itself() {
    let home = Home::new();
    for command in COMMANDS.into_iter().filter(|name| *name != "help") {
        let help = succeed(&mut home.remuda([command, "--help"]));
        assert!(help.contains("Usage: remuda"), "{command}:\n{help}");
    }
    let help = succeed(&mut home.remuda(["serve", "--help"]));
    assert!(help.contains("--config <FILE>"));
}

#[test]
fn completions_and_the_manual_know_the_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(succeed(&mut home.remuda(["completions", shell])).contains("undrain"));
    }
    assert!(succeed(&mut home.remuda(["man"])).contains(".TH remuda"));
    let pages = home.path("man1");
    std::fs::create_dir(&pages).unwrap();
    succeed(home.remuda(["man", "--out"]).arg(&pages));
    assert!(pages.join("remuda-why.1").exists());
}

#[test]
fn wrong_usage_exits_with_2() {
    let home = Home::new();
    for arguments in [["nonsense", "-"], ["requests", "--outcome=bad"]] {
        let output = home.remuda(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
    }
    let line = one_line_refusal(&mut home.remuda(["up", "--listen", "here"]), 2);
    assert!(
        line.contains("--listen") && line.contains("127.0.0.1:11440"),
        "{line}"
    );
    let line = one_line_refusal(&mut home.remuda(["run", "some-model"]), 2);
    assert!(line.contains("no question"), "{line}");
    let line = one_line_refusal(&mut home.remuda(["requests", "--since", "yesterday"]), 2);
    assert!(line.contains("12h"), "{line}");
}

#[test]
fn without_a_server_every_client_command_says_how_to_start_one() {
    let home = Home::new();
    for arguments in [
        ["models", "--server", "http://127.0.0.1:1"],
        ["ps", "--server", "http://127.0.0.1:1"],
        ["whoami", "--server", "127.0.0.1:1"],
        ["status", "--server", "127.0.0.1:1"],
        ["requests", "--server", "127.0.0.1:1"],
    ] {
        let line = one_line_refusal(&mut home.remuda(arguments), 1);
        assert!(
            line.contains("cannot reach Remuda at http://127.0.0.1:1"),
            "{line}"
        );
        assert!(line.contains("remuda up"), "{line}");
    }
}
