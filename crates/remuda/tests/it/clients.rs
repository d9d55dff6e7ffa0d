//! The commands against a running server.

use std::process::Stdio;

use serde_json::Value;
use testbed::{Flavour, ScriptedUpstream};

use crate::harness::{Home, PASSWORD, Server, json, one_line_refusal, succeed};
use crate::service::PATIENCE;

/// A server with a signed-in administrator.
fn signed_in() -> (Home, Server) {
    let home = Home::new();
    let mut up = home.up();
    up.env("REMUDA_ADMIN_PASSWORD", PASSWORD);
    let server = Server::start(up);
    succeed(
        home.remuda(["login", "--password-stdin", "--server", server.url()])
            .stdin(home.password_file()),
    );
    (home, server)
}

#[test]
fn keys_are_made_shown_once_and_revoked() {
    let (home, server) = signed_in();
    let url = server.url();
    let made = succeed(&mut home.remuda([
        "--server",
        url,
        "key",
        "create",
        "ci",
        "--model",
        "phi*",
        "--expires",
        "90d",
    ]));
    assert!(
        made.starts_with("rmd_") && made.lines().count() == 1,
        "{made}"
    );
    let me = json(
        home.remuda(["--server", url, "whoami"])
            .env("REMUDA_API_KEY", made.trim()),
    );
    assert_eq!(me["name"], "ci");
    assert_eq!(me["models"], serde_json::json!(["phi*"]));
    let table = succeed(&mut home.remuda(["--server", url, "key", "list"]));
    assert!(
        table.contains("active") && table.contains("phi*"),
        "{table}"
    );
    assert!(!table.contains(made.trim()), "{table}");
    succeed(&mut home.remuda(["--server", url, "key", "revoke", "ci"]));
    let line = one_line_refusal(
        home.remuda(["--server", url, "whoami"])
            .env("REMUDA_API_KEY", made.trim()),
        1,
    );
    assert!(line.contains("not valid"), "{line}");
    let line = one_line_refusal(
        &mut home.remuda(["--server", url, "key", "revoke", "ci"]),
        1,
    );
    assert!(line.contains("there is no key \"ci\""), "{line}");
}

#[test]
fn roles_are_made_given_changed_and_removed() {
    let (home, server) = signed_in();
    let remuda = |arguments: &[&str]| {
        let mut command = home.remuda([]);
        command.args(arguments).args(["--server", server.url()]);
        command
    };
    let made = succeed(&mut remuda(&[
        "role",
        "create",
        "keeper",
        "keys:manage",
        "--description",
        "looks after keys",
    ]));
    assert_eq!(made.trim(), "Made keeper: keys:read, keys:manage.");
    succeed(
        remuda(&[
            "user",
            "create",
            "ann",
            "--custom-role",
            "keeper",
            "--password-stdin",
        ])
        .stdin(home.password_file()),
    );
    let people = json(&mut remuda(&["user", "list"]));
    let ann = |person: &&Value| person["username"] == "ann";
    let ann = people["items"].as_array().unwrap().iter().find(ann);
    assert_eq!(ann.unwrap()["custom_role"], "keeper");
    let line = one_line_refusal(&mut remuda(&["role", "delete", "keeper"]), 1);
    assert!(line.contains("people have this role (1)"), "{line}");
    succeed(&mut remuda(&["role", "edit", "keeper", "audit:read"]));
    let table = succeed(&mut remuda(&["role", "list"]));
    assert!(
        table.contains("audit:read") && table.contains("built in"),
        "{table}"
    );
    succeed(&mut remuda(&["user", "edit", "ann", "--role", "viewer"]));
    succeed(&mut remuda(&["role", "delete", "keeper"]));
    let key = succeed(&mut remuda(&[
        "key",
        "create",
        "auditor",
        "--scope",
        "audit:read",
    ]));
    let me = json(remuda(&["whoami"]).env("REMUDA_API_KEY", key.trim()));
    assert_eq!(me["permissions"], serde_json::json!(["audit:read"]));
    let line = one_line_refusal(
        remuda(&["key", "list"]).env("REMUDA_API_KEY", key.trim()),
        1,
    );
    assert!(line.contains("keys:read"), "{line}");
}

#[test]
fn nodes_are_added_drained_and_removed() {
    let (home, server) = signed_in();
    let url = server.url();
    let added = succeed(&mut home.remuda([
        "--server",
        url,
        "node",
        "add",
        "gpu1",
        "http://127.0.0.1:9",
        "--tag",
        "fast",
    ]));
    assert!(
        added.contains("Added gpu1, which does not answer yet."),
        "{added}"
    );
    let listed = json(&mut home.remuda(["--server", url, "node", "list"]));
    let gpu1 = find(&listed, "gpu1");
    assert_eq!(gpu1["tags"], serde_json::json!(["fast"]));
    succeed(&mut home.remuda(["--server", url, "node", "drain", "gpu1"]));
    let shown = succeed(&mut home.remuda(["--server", url, "node", "show", "gpu1"]));
    assert!(shown.contains("draining"), "{shown}");
    succeed(&mut home.remuda(["--server", url, "node", "undrain", "gpu1"]));
    succeed(&mut home.remuda(["--server", url, "node", "remove", "gpu1"]));
    let line = one_line_refusal(
        &mut home.remuda(["--server", url, "node", "show", "gpu1"]),
        1,
    );
    assert!(line.contains("gpu1"), "{line}");
}

#[test]
fn managing_needs_an_administrator_and_says_how_to_become_one() {
    let home = Home::new();
    let server = home.start();
    for arguments in [["node", "list"], ["key", "list"]] {
        let line = one_line_refusal(home.remuda(arguments).args(["--server", server.url()]), 1);
        assert!(line.contains("remuda login"), "{line}");
    }
}

#[test]
fn a_question_is_answered_listed_and_explained() {
    let (home, server) = signed_in();
    let url = server.url();
    let models = json(&mut home.remuda(["--server", url, "models"]));
    let model = models["models"][0]["name"].as_str().unwrap().to_owned();
    let answer = succeed(&mut home.remuda([
        "--server",
        url,
        "run",
        &model,
        "What is Remuda?",
        "--temperature",
        "0",
        "--max-tokens",
        "16",
    ]));
    assert!(!answer.trim().is_empty());
    let record = wait_for_record(&home, url);
    assert_eq!(record["outcome"], "ok");
    assert_eq!(record["node"], "embedded");
    let id = record["id"].as_str().unwrap();
    let story = succeed(&mut home.remuda(["--server", url, "why", id]));
    assert!(story.contains(id), "{story}");
    // The end of an id is enough.
    let again = succeed(&mut home.remuda(["--server", url, "why", &id[24..]]));
    assert!(again.contains(id), "{again}");
    let line = one_line_refusal(
        &mut home.remuda(["--server", url, "why", "../../../api/v1/keys/whole-word-x"]),
        2,
    );
    assert!(line.contains("characters of its end"), "{line}");
    assert!(story.contains("Sent to embedded"), "{story}");
    assert!(
        story.contains("→ embedded  expected first token "),
        "{story}"
    );
    assert!(!story.contains("score"), "{story}");
    assert!(story.contains("Ended ok with status 200"), "{story}");
    let table = succeed(&mut home.remuda([
        "--server",
        url,
        "requests",
        "--outcome",
        "ok",
        "--since",
        "1h",
    ]));
    assert!(table.contains(record["id"].as_str().unwrap()), "{table}");
}

#[test]
fn an_unknown_model_is_one_clear_line() {
    let home = Home::new();
    let server = home.start();
    let line = one_line_refusal(
        &mut home.remuda(["--server", server.url(), "run", "no-such-model", "hello"]),
        1,
    );
    assert!(line.contains("no-such-model"), "{line}");
}

/// Pipes messages into a conversation that must end with `code`, and returns what was said and remarked.
fn converse(home: &Home, arguments: &[&str], messages: &[u8], code: i32) -> (String, String) {
    use std::io::Write as _;

    let mut chat = home
        .remuda(["chat", "--max-tokens", "8"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    chat.stdin.take().unwrap().write_all(messages).unwrap();
    let output = chat.wait_with_output().unwrap();
    let remarks = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{remarks}");
    (String::from_utf8(output.stdout).unwrap(), remarks)
}

#[test]
fn a_conversation_goes_on_over_several_turns() {
    let home = Home::new();
    let server = home.start();
    let messages = b"What is Remuda?\n/nonsense\n/clear\nAnd a node?\n/bye\n";
    let (said, remarks) = converse(&home, &["--server", server.url()], messages, 0);
    assert!(said.lines().count() >= 2, "{said}{remarks}");
    assert!(
        remarks.contains("There is no command /nonsense"),
        "{remarks}"
    );
    // What stands in a fence is for the model.
    let messages = b"\"\"\"/bye\"\"\"\n\"\"\"\n/nonsense\n\"\"\"\n";
    let (said, remarks) = converse(&home, &["--server", server.url()], messages, 0);
    assert!(said.lines().count() >= 2, "{said}{remarks}");
    assert!(remarks.is_empty(), "{remarks}");
}

#[test]
fn what_a_piped_conversation_could_not_do_shows_in_its_exit_code() {
    let home = Home::new();
    let server = home.start();
    let at = ["--server", server.url()];
    let (said, remarks) = converse(&home, &at, b"Hello\n/model nowhere\nHello\n", 1);
    assert!(said.lines().count() >= 2, "{said}{remarks}");
    assert!(remarks.contains("nowhere"), "{remarks}");
    let (said, remarks) = converse(&home, &at, b"Hello\n\xff\nHello\n", 1);
    assert!(!said.is_empty(), "{remarks}");
    assert!(remarks.contains("UTF-8"), "{remarks}");
}

#[test]
fn status_and_doctor_work_with_the_server_up_and_down() {
    let (home, server) = signed_in();
    let health = json(&mut home.remuda(["--server", server.url(), "status"]));
    assert_eq!(health["components"]["database"]["status"], "ok");
    let data = home.data().display().to_string();
    let findings = json(&mut home.remuda(["--server", server.url(), "doctor", "--data", &data]));
    assert_eq!(verdict(&findings, "server"), "good");
    assert_eq!(verdict(&findings, "data directory"), "good");
    assert_eq!(verdict(&findings, "sign-in"), "good");
    assert_eq!(server.stop("TERM"), Some(0));
    let findings = json(&mut home.remuda(["doctor", "--listen", "127.0.0.1:0", "--data", &data]));
    assert_eq!(verdict(&findings, "address"), "good");
    assert_eq!(verdict(&findings, "database"), "good");
    let findings = home
        .remuda([
            "doctor",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--data",
            &data,
        ])
        .env("REMUDA_OUTBOUND__CA_FILE", "/nowhere/ca.pem")
        .output()
        .unwrap();
    assert_eq!(findings.status.code(), Some(1));
    let findings = serde_json::from_slice(&findings.stdout).unwrap();
    assert_eq!(verdict(&findings, "ca_file"), "broken");
}

#[test]
fn doctor_names_what_is_broken_and_exits_with_1() {
    let home = Home::new();
    home.write("data", "a file");
    let broken = home.write("broken.gguf", "not a model");
    let output = home
        .remuda(["doctor", "--listen", "127.0.0.1:0", "--json", "--model"])
        .arg(&broken)
        .arg("--data")
        .arg(home.data())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict(&findings, "data directory"), "broken");
    assert!(
        findings
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["check"] == "model" && one["verdict"] == "broken"),
        "{findings}"
    );
}

#[test]
fn doctor_has_the_key_of_a_node_corrected_where_that_is_wrong() {
    let upstream = ScriptedUpstream::builder(Flavour::Vllm)
        .api_key("right")
        .start()
        .unwrap();
    let home = Home::new();
    let config = format!(
        "[engine]\ndemo = false\n[[nodes]]\nname = \"gpu1\"\nurl = \"{}\"\napi_key = \"wrong\"\n",
        upstream.url()
    );
    let file = home.write("remuda.toml", &config);
    let mut up = home.up();
    up.arg("--config").arg(&file);
    up.env("REMUDA_ADMIN_PASSWORD", PASSWORD);
    let server = Server::start(up);
    let url = server.url().to_owned();
    succeed(
        home.remuda(["login", "--password-stdin", "--server", &url])
            .stdin(home.password_file()),
    );
    let node = || {
        let mut doctor = home.remuda(["--server", &url, "doctor", "--json", "--config"]);
        let output = doctor.arg(&file).output().unwrap();
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let node = findings.into_iter().find(|one| {
            let message = one["message"].as_str().unwrap();
            one["check"] == "node" && message.starts_with("gpu1")
        });
        node.unwrap()
    };
    let deadline = std::time::Instant::now() + PATIENCE;
    let seen_by_the_server = loop {
        let node = node();
        if node["message"].as_str().unwrap().contains("401") {
            break node;
        }
        assert!(std::time::Instant::now() < deadline, "{node}");
    };
    assert_eq!(server.stop("TERM"), Some(0));
    for node in [seen_by_the_server, node()] {
        assert_eq!(node["verdict"], "broken");
        let advice = node["advice"].as_str().unwrap();
        assert!(advice.contains("correct the api_key of gpu1"), "{node}");
    }
}

#[test]
fn a_model_that_is_not_there_is_told_with_the_list_of_those_that_are() {
    let home = Home::new();
    let server = home.start();
    for command in [&["show", "nowhere"][..], &["run", "nowhere", "hello"]] {
        let mut asked = home.remuda(["--server", server.url()]);
        let line = one_line_refusal(asked.args(command), 1);
        assert!(line.contains("'nowhere' not found"), "{line}");
        assert!(line.contains("`remuda models`"), "{line}");
    }
}

#[test]
fn signing_out_forgets_the_session() {
    let (home, server) = signed_in();
    let url = server.url();
    succeed(&mut home.remuda(["--server", url, "logout"]));
    let me = json(&mut home.remuda(["--server", url, "whoami"]));
    assert_eq!(me["kind"], "anonymous");
    let again = succeed(&mut home.remuda(["--server", url, "logout"]));
    assert!(again.contains("not signed in"), "{again}");
}

fn find(page: &Value, name: &str) -> Value {
    page["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["name"] == name)
        .unwrap_or_else(|| panic!("{name} is missing: {page}"))
        .clone()
}

fn verdict(findings: &Value, check: &str) -> String {
    findings
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["check"] == check)
        .unwrap_or_else(|| panic!("no finding about {check}: {findings}"))["verdict"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Records are written in batches; asking again is how a client waits for one.
fn wait_for_record(home: &Home, url: &str) -> Value {
    for _ in 0..500 {
        let page = json(&mut home.remuda(["--server", url, "requests"]));
        if let Some(record) = page["items"].get(0) {
            return record.clone();
        }
    }
    panic!("no record appeared");
}
