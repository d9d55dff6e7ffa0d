//! From start to signal.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::harness::{Home, PASSWORD, Server, json, send_signal, succeed};

#[test]
fn the_banner_says_what_was_found_and_its_curl_line_works() {
    let home = Home::new();
    let mut child = home
        .up()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .take_while(|line| line != "Ctrl-C stops.")
        .collect();
    let banner = lines.join("\n");
    assert!(banner.contains("listens on http://127.0.0.1:"), "{banner}");
    assert!(
        banner.contains(&home.data().display().to_string()),
        "{banner}"
    );
    assert!(banner.contains("keys      not needed"), "{banner}");
    assert!(
        banner.contains("login --server http://127.0.0.1:"),
        "{banner}"
    );
    assert!(banner.contains("--setup-token rmt_"), "{banner}");
    let curl = lines
        .iter()
        .find(|line| line.trim_start().starts_with("curl "))
        .unwrap();
    let answer = succeed(Command::new("sh").args(["-c", &curl.replace("curl ", "curl -sS ")]));
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert!(answer.get("error").is_none(), "{answer}");
    send_signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_start_finds_everything_again() {
    let home = Home::new();
    let first = home.start();
    let token = first.setup_token().unwrap().to_owned();
    let url = first.url().to_owned();
    succeed(
        home.remuda([
            "--server",
            &url,
            "setup",
            "--token",
            &token,
            "--password-stdin",
        ])
        .stdin(home.password_file()),
    );
    let key = json(&mut home.remuda(["--server", &url, "key", "create", "laptop", "--admin"]));
    assert_eq!(first.stop("TERM"), Some(0));

    let second = home.start();
    assert_eq!(second.setup_token(), None);
    let keys = json(
        home.remuda(["--server", second.url(), "key", "list"])
            .env("REMUDA_API_KEY", key["secret"].as_str().unwrap()),
    );
    assert_eq!(keys["items"][0]["name"], "laptop");
    assert_eq!(second.stop("INT"), Some(0));
}

#[test]
fn with_data_nothing_is_written_elsewhere_and_only_the_owner_can_read_it() {
    let home = Home::new();
    assert_eq!(home.start().stop("TERM"), Some(0));
    let entries: Vec<_> = std::fs::read_dir(home.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(entries, ["data"]);
    let mode = std::fs::metadata(home.data()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn an_administrator_can_be_given_by_the_environment() {
    let home = Home::new();
    let mut up = home.up();
    up.env("REMUDA_ADMIN_PASSWORD", PASSWORD);
    let server = Server::start(up);
    assert_eq!(server.setup_token(), None);
    succeed(
        home.remuda(["--server", server.url(), "login", "--password-stdin"])
            .stdin(home.password_file()),
    );
    let me = json(&mut home.remuda(["--server", server.url(), "whoami"]));
    assert_eq!(me["name"], "admin");
    assert_eq!(server.stop("TERM"), Some(0));
}

#[test]
fn the_log_tells_when_the_environment_replaces_the_administrators_password() {
    let home = Home::new();
    let started = |password: &str| {
        let mut up = home.up();
        up.env("REMUDA_ADMIN_PASSWORD", password);
        let (code, log) = Server::start(up).stop_with_log("TERM");
        assert_eq!(code, Some(0));
        assert!(!log.contains(password), "{log}");
        log.lines()
            .filter(|line| line.contains("REMUDA_ADMIN_PASSWORD"))
            .count()
    };
    assert_eq!(started(PASSWORD), 0, "made");
    assert_eq!(started(PASSWORD), 0, "the same");
    assert_eq!(started("another good password"), 1, "another");
    assert_eq!(started("another good password"), 0, "the same again");
}

#[test]
fn a_refused_model_file_is_told_with_its_reason_and_the_rest_goes_on() {
    let home = Home::new();
    let broken = home.write("broken.gguf", "not a model");
    let mut up = home.up();
    up.arg("--model").arg(&broken);
    let server = Server::start(up);
    let refused = &server.announcement["found"]["refused"];
    assert_eq!(refused.as_array().unwrap().len(), 1, "{refused}");
    assert!(!refused[0]["reason"].as_str().unwrap().is_empty());
    assert_eq!(server.stop("TERM"), Some(0));
}
