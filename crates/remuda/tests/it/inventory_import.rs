//! `remuda inventory import`: what is cut off goes on, what is refused is told, nothing is skipped or lost.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Home, Server, json as run_json, succeed};
use crate::inventory::{CONFIG, server};

/// Imports a file, and returns whether that went well, what stands in the report, and what was said.
fn import(home: &Home, server: &Server, file: &Path) -> (bool, Value, String) {
    let mut command = home.remuda(["--server", server.url(), "inventory", "import"]);
    let output = command.arg(file).arg("--json").output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), report, said)
}

fn counts(report: &Value) -> [u64; 4] {
    ["skipped", "made", "present", "refused"].map(|name| report[name].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_where_it_was_cut_off() {
    let home = Home::new();
    let server = server(&home, CONFIG);
    // Two parts of widgets, one of which has a mistake, and associations of the last of them, which must not come before their widgets.
    let widget = |number: u32, name: &str| {
        let ports = if number == 7 { "Z" } else { "P" };
        json!({"serial_number": format!("w{number}"), "name": name, "ports": ports}).to_string()
    };
    let associations = (0..100).map(|number| {
        let (first, second) = (39_998 - 2 * number, 39_999 - 2 * number);
        json!({"first": format!("w{first}"), "second": format!("w{second}"), "port": "P"})
            .to_string()
    });
    let mut lines: Vec<String> = (0..40_000).map(|number| widget(number, "n")).collect();
    lines.extend(associations);
    let whole = lines.join("\n");
    // More than a part may have: the server refuses the second one.
    lines[30_000] = widget(30_000, &"n".repeat(17 << 20));
    let file = home.write("parts.jsonl", &lines.join("\n"));
    let progress = home.path("parts.jsonl.progress");
    let (is_well, _, said) = import(&home, &server, &file);
    assert!(!is_well && said.contains("line 8: "), "{said}");
    assert!(said.contains("All up to line 20000 is in"), "{said}");
    let kept = std::fs::read_to_string(&progress).unwrap();

    home.write("parts.jsonl", &whole);
    let (is_well, report, said) = import(&home, &server, &file);
    assert!(said.contains("Going on behind line 20000"), "{said}");
    assert_eq!(counts(&report), [20_000, 20_100, 0, 1], "{said}");
    // What was refused before it was cut off is not forgotten.
    assert!(
        !is_well && said.contains("1 of them before it was cut off"),
        "{said}"
    );
    assert!(!progress.exists(), "a finished import begins anew");

    // What is of another server, of another file, or of another program, is not taken for this import's.
    let others = [
        kept.replacen(server.url(), "http://127.0.0.1:1", 1),
        kept.replacen("\"blake3\":\"", "\"blake3\":\"0", 1),
        "20000".to_owned(),
    ];
    for other in others {
        assert_ne!(other, kept);
        home.write("parts.jsonl.progress", &other);
        let (_, report, said) = import(&home, &server, &file);
        assert_eq!(counts(&report), [0, 0, 40_099, 1], "{said}");
        assert!(said.contains("beginning at the beginning"), "{said}");
    }
    home.write("parts.jsonl.progress", &kept);
    let mut anew = home.remuda(["--server", server.url(), "inventory", "import", "--anew"]);
    let anew = anew.arg(&file).arg("--json").output().unwrap();
    let report: Value = serde_json::from_slice(&anew.stdout).unwrap();
    assert_eq!(counts(&report), [0, 0, 40_099, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_needs_no_place_to_write() {
    let home = Home::new();
    let server = server(&home, CONFIG);
    let file = home.write(
        "parts.csv",
        "\u{feff}serial_number,name,ports \r\na,n,P\r\n",
    );
    // Nothing can be written there, whoever runs this.
    std::fs::create_dir(home.path("parts.csv.progress")).unwrap();
    let (is_well, report, said) = import(&home, &server, &file);
    assert!(is_well, "{said}");
    assert_eq!(counts(&report), [0, 1, 0, 0]);
    assert!(said.contains("begins at the beginning"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_lines_are_named() {
    let home = Home::new();
    let server = server(&home, CONFIG);
    let file = home.write(
        "parts.jsonl",
        "{\"serial_number\": \"x\", \"name\": \"n\", \"ports\": \"Z\"}\n{\"serial_number\": \"y\", \"name\": \"n\", \"ports\": \"P\"}\n",
    );
    let (is_well, report, said) = import(&home, &server, &file);
    assert!(!is_well);
    assert_eq!(counts(&report), [0, 1, 0, 1]);
    assert!(
        said.contains("line 1: ") && said.contains("P, Q and R"),
        "{said}"
    );
    let made = run_json(&mut home.remuda(["--server", server.url(), "inventory", "show", "y"]));
    assert_eq!(made["serial_number"], "y");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_exported_is_imported_whole() {
    let home = Home::new();
    let from = server(&home, CONFIG);
    let remuda = |server: &Server, arguments: &[&str]| {
        let mut command = home.remuda(["--server", server.url(), "inventory"]);
        command.args(arguments);
        command
    };
    for (serial, name) in [
        ("first", "\"first\""),
        ("two\nlines", "a,\r\n\"b\""),
        ("c", "\n"),
    ] {
        succeed(&mut remuda(&from, &["add", serial, name, "--ports", "PQ"]));
    }
    succeed(&mut remuda(
        &from,
        &["associate", "first", "two\nlines", "Q"],
    ));
    let kinds: [&[&[&str]]; 2] = [
        &[
            &["--format", "csv", "--only", "widgets"],
            &["--format", "csv", "--only", "associations"],
        ],
        &[&["--format", "jsonl"]],
    ];
    let list = run_json(&mut remuda(&from, &["list"]));
    for kind in kinds {
        let other_home = Home::new();
        let to = server(&other_home, CONFIG);
        for (number, arguments) in kind.iter().enumerate() {
            let text = succeed(remuda(&from, &["export"]).args(*arguments));
            let file = home.write(&format!("moved-{number}.{}", arguments[1]), &text);
            let (is_well, _, said) = import(&home, &to, &file);
            assert!(is_well, "{said}");
        }
        assert_eq!(run_json(&mut remuda(&to, &["list"])), list);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_sent_again_when_the_database_is_back() {
    let store = store::testing::TestStore::postgres().await;
    let home = Home::new();
    let url = store.config().url.expose();
    let server = server(&home, &format!("{CONFIG}[store]\nurl = \"{url}\"\n"));
    let db = store.open().await;
    let file = home.write("parts.csv", "serial_number,name,ports\na,n,P\nb,n,P\n");
    store.stop(&db).await;
    let mut command = home.remuda(["--server", server.url(), "inventory", "import"]);
    command
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut importing = command.spawn().unwrap();
    let mut said = BufReader::new(importing.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(
        line.contains("lines 1 to 3: ") && line.contains("trying again in"),
        "{line}"
    );
    store.resume().await;
    let mut told = String::new();
    importing
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut told)
        .unwrap();
    said.read_to_string(&mut line).unwrap();
    assert!(importing.wait().unwrap().success(), "{line}");
    assert!(told.starts_with("2 made, 0 there already"), "{told}");
}
