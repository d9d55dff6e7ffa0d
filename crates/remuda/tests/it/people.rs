//! The commands about people, sessions and changes against a running server.

use std::fs::File;

use serde_json::{Value, json as value};

use crate::harness::{Home, PASSWORD, Server, json, one_line_refusal, succeed};

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

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn an_ended_access_token_is_refreshed_by_the_next_command() {
    let (home, server) = signed_in();
    let url = server.url();
    let path = home.path(".config/remuda/credentials.toml");
    let stored = std::fs::read_to_string(&path).unwrap();
    let stale = with_ended_token(&stored);
    std::fs::write(&path, &stale).unwrap();
    let me = json(&mut home.remuda(["--server", url, "whoami"]));
    assert_eq!(me["name"], "admin");
    let refreshed = std::fs::read_to_string(&path).unwrap();
    assert!(refreshed != stale && refreshed != stored);
    std::fs::write(&path, with_ended_token(&refreshed)).unwrap();
    json(&mut home.remuda(["--server", url, "whoami"]));
    let refreshed = std::fs::read_to_string(&path).unwrap();
    // The refresh token of the first sign-in is spent, and so is its successor: whoever presents it again ends the session.
    std::fs::write(&path, &stale).unwrap();
    let line = one_line_refusal(&mut home.remuda(["--server", url, "whoami"]), 1);
    assert!(line.contains("remuda login"), "{line}");
    std::fs::write(&path, &refreshed).unwrap();
    one_line_refusal(&mut home.remuda(["--server", url, "whoami"]), 1);
}

/// Returns what is stored of a sign-in, with an access token that has ended.
fn with_ended_token(stored: &str) -> String {
    let lines = stored.lines().map(|line| match line.split_once(" = ") {
        Some((name @ "token_expires_at", _)) => format!("{name} = \"2020-01-01T00:00:00Z\""),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn sessions_are_listed_and_ended() {
    let (home, server) = signed_in();
    let url = server.url();
    succeed(
        home.remuda(["login", "--password-stdin", "--server", url])
            .stdin(home.password_file()),
    );
    let listed = json(&mut home.remuda(["--server", url, "session", "list"]));
    let sessions = items(&listed);
    assert_eq!(sessions.len(), 2);
    let other = sessions
        .iter()
        .find(|session| session["current"] == false)
        .unwrap();
    let id = other["id"].as_str().unwrap();
    assert_eq!(other["ip"], "127.0.0.1");
    let ended = succeed(&mut home.remuda(["--server", url, "session", "end", id]));
    assert!(ended.contains(id), "{ended}");
    let line = one_line_refusal(
        &mut home.remuda(["--server", url, "session", "end", "../keys"]),
        2,
    );
    assert!(line.contains("not the id of a session"), "{line}");
    succeed(&mut home.remuda(["--server", url, "logout", "--everywhere"]));
    one_line_refusal(&mut home.remuda(["--server", url, "session", "list"]), 1);
}

#[test]
fn people_are_invited_register_and_are_managed() {
    let (home, server) = signed_in();
    let url = server.url();
    let remuda = |arguments: &[&str]| {
        let mut command = home.remuda(["--server", url]);
        command.args(arguments);
        command
    };
    let token = succeed(&mut remuda(&[
        "invitation",
        "create",
        "--role",
        "operator",
        "--note",
        "Ann",
    ]));
    assert!(
        token.starts_with("rmi_") && token.lines().count() == 1,
        "{token}"
    );
    let invitations = json(&mut remuda(&["invitation", "list"]));
    assert_eq!(items(&invitations)[0]["note"], "Ann");

    let guest = Home::new();
    let password = || File::open(guest.write("password", "a password of ann's\n")).unwrap();
    let register = || {
        let mut command = guest.remuda(["--server", url, "register", "--username", "ann"]);
        command.args(["--invitation", token.trim(), "--password-stdin"]);
        command.stdin(password());
        command
    };
    succeed(&mut register());
    let me = json(&mut guest.remuda(["--server", url, "whoami"]));
    assert_eq!(
        (&me["name"], &me["role"]),
        (&value!("ann"), &value!("operator"))
    );
    one_line_refusal(&mut register(), 1);

    let users = succeed(&mut remuda(&["user", "list"]));
    assert!(
        users.contains("ann") && users.contains("operator"),
        "{users}"
    );
    let edited = succeed(&mut remuda(&["user", "edit", "ann", "--role", "viewer"]));
    assert!(edited.contains("ann is viewer"), "{edited}");
    let reset = succeed(&mut remuda(&["user", "reset", "ann"]));
    assert!(reset.starts_with("rmp_"), "{reset}");
    let mut again = guest.remuda(["--server", url, "password", "reset", "--password-stdin"]);
    again.args(["--token", reset.trim()]);
    let found = guest.write("found", "a password found again\n");
    succeed(again.stdin(File::open(found).unwrap()));
    one_line_refusal(&mut guest.remuda(["--server", url, "whoami"]), 1);
    succeed(&mut remuda(&["user", "edit", "ann", "--disable"]));
    let line = one_line_refusal(&mut remuda(&["user", "edit", "nobody", "--enable"]), 1);
    assert!(line.contains("remuda user list"), "{line}");
}

#[test]
fn keys_are_changed_with_effect_at_once() {
    let (home, server) = signed_in();
    let url = server.url();
    let made =
        succeed(&mut home.remuda(["--server", url, "key", "create", "ci", "--model", "phi*"]));
    let mut edit = home.remuda(["--server", url, "key", "edit", "ci", "--all-models"]);
    edit.args(["--requests-per-minute", "60", "--priority", "batch"]);
    let changed = json(&mut edit);
    assert_eq!(changed["limits"], value!({"requests_per_minute": 60}));
    assert_eq!(
        (&changed["models"], &changed["priority"]),
        (&Value::Null, &value!("batch"))
    );
    let me = json(
        home.remuda(["--server", url, "whoami"])
            .env("REMUDA_API_KEY", made.trim()),
    );
    assert_eq!(me["models"], Value::Null);
    succeed(&mut home.remuda(["--server", url, "key", "create", "laptop"]));
    succeed(&mut home.remuda(["--server", url, "key", "revoke", "ci"]));
    for (filter, names) in [
        (["--status", "revoked"], ["ci"]),
        (["--search", "LAP"], ["laptop"]),
    ] {
        let mut list = home.remuda(["--server", url, "key", "list"]);
        let listed = json(list.args(filter));
        let found: Vec<&Value> = items(&listed).iter().map(|key| &key["name"]).collect();
        assert_eq!(found, names, "{filter:?}");
    }
    let viewers = json(&mut home.remuda(["--server", url, "user", "list", "--role", "viewer"]));
    assert!(items(&viewers).is_empty());
}

#[test]
fn changes_are_listed_exported_and_verified() {
    let (home, server) = signed_in();
    let url = server.url();
    succeed(&mut home.remuda(["--server", url, "key", "create", "ci, \"nightly\""]));
    let table = succeed(&mut home.remuda(["--server", url, "audit", "list"]));
    assert!(
        table.contains("key.create") && table.contains("session.start"),
        "{table}"
    );
    let lines = succeed(&mut home.remuda(["--server", url, "audit", "export"]));
    for line in lines.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert!(record["seq"].is_i64());
    }
    let csv = succeed(&mut home.remuda([
        "--server",
        url,
        "audit",
        "export",
        "--format",
        "csv",
        "--action",
        "key.create",
    ]));
    assert!(csv.starts_with("seq,at,action,actor_kind"), "{csv}");
    assert_eq!(csv.lines().count(), 2, "{csv}");
    let whole = succeed(&mut home.remuda(["--server", url, "audit", "verify"]));
    assert!(whole.contains("as it was written"), "{whole}");
}
