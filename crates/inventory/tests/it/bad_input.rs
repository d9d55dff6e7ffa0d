//! Calls that are no calls: each is answered as it should be, and none changes anything.

use axum::body::Body;
use http::{Method, Request};
use inventory::InventoryConfig;
use store::testing::TestStore;

use crate::app::Process;
use crate::rpc::assert_error;

store::on_every_engine! {
    bad_arguments_are_refused_and_change_nothing,
    calls_that_break_a_rule_are_refused_and_change_nothing,
    bytes_that_are_no_json_are_refused_and_change_nothing,
    other_methods_types_and_names_are_refused,
    odd_texts_are_kept_as_they_are,
}

async fn bad_arguments_are_refused_and_change_nothing(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    process.add("E", "PR").await;
    process.add("F", "P").await;
    let before = process.table().await;
    let long = "x".repeat(10_000);
    let serial_long = format!(r#"{{"widget_sn": "{long}", "name": "n", "slots": []}}"#);
    let name_long = format!(r#"{{"widget_sn": "n", "name": "{long}", "slots": []}}"#);
    let null = |column: &str, table: &str| {
        format!(
            "null value in column \"{column}\" of relation \"{table}\" violates not-null constraint"
        )
    };
    let port = |name: &str| format!("invalid input value for enum widgets.port_type: \"{name}\"");
    let missing =
        |list: &str| format!("Could not find the function widgets.{list} in the schema cache");
    let cases: [(&str, &str, u16, &str, String); 53] = [
        ("add_widget", "", 400, "PGRST102", "Empty or invalid json".into()),
        ("add_widget", "{", 400, "PGRST102", "Empty or invalid json".into()),
        ("add_widget", "[]", 400, "PGRST102", "Empty or invalid json".into()),
        ("add_widget", "7", 400, "PGRST102", "Empty or invalid json".into()),
        ("add_widget", "{}", 404, "PGRST202", missing("add_widget without parameters")),
        ("add_widget", r#"{"widget_sn": "H", "name": "n"}"#, 404, "PGRST202", missing("add_widget(name, widget_sn)")),
        ("add_widget", r#"{"widget_sn": "H", "nome": "n", "slots": []}"#, 404, "PGRST202", missing("add_widget(nome, slots, widget_sn)")),
        ("add_widget", r#"{"widget_sn": "H", "name": "n", "slots": [], "more": 1}"#, 404, "PGRST202", missing("add_widget(more, name, slots, widget_sn)")),
        ("add_widget", r#"{"widget_sn": "H", "name": "n", "widget_name": "n", "slots": []}"#, 404, "PGRST202", missing("add_widget(name, slots, widget_name, widget_sn)")),
        ("add_widget", r#"{"widget_sn": "H", "widget_sn": "I", "name": "n", "slots": []}"#, 400, "PGRST102", "Empty or invalid json".into()),
        ("add_widget", r#"{"widget_sn": 5, "name": "n", "slots": []}"#, 400, "22P02", "expected JSON string".into()),
        ("add_widget", r#"{"widget_sn": {"a": 1}, "name": "n", "slots": []}"#, 400, "22P02", "expected JSON string".into()),
        ("add_widget", r#"{"widget_sn": "H", "name": true, "slots": []}"#, 400, "22P02", "expected JSON string".into()),
        ("add_widget", r#"{"widget_sn": "H", "name": "n", "slots": "P"}"#, 400, "22P02", "expected JSON array".into()),
        ("add_widget", r#"{"widget_sn": "H", "name": "n", "slots": [1]}"#, 400, "22P02", "expected JSON string".into()),
        ("add_widget", r#"{"widget_sn": null, "name": "n", "slots": []}"#, 400, "23502", null("serial_number", "widgets")),
        ("add_widget", r#"{"widget_sn": "H", "name": null, "slots": []}"#, 400, "23502", null("name", "widgets")),
        ("add_widget", r#"{"widget_sn": "H", "name": "n", "slots": ["P", null]}"#, 400, "23502", null("slot", "slots")),
        ("add_widget", r#"{"widget_sn": "H", "name": "n", "slots": ["Z"]}"#, 400, "22P02", port("Z")),
        ("add_widget", r#"{"widget_sn": "H", "name": "n", "slots": ["p"]}"#, 400, "22P02", port("p")),
        ("add_widget", r#"{"widget_sn": "H", "name": "n", "slots": ["P", "P", "P", "p"]}"#, 400, "22P02", port("p")),
        ("add_widget", r#"{"widget_sn": "", "name": "n", "slots": []}"#, 400, "23514", "new row for relation \"widgets\" violates check constraint \"widgets_serial_number_length\"".into()),
        ("add_widget", &serial_long, 400, "22001", "value too long for type character varying(200)".into()),
        ("add_widget", &name_long, 400, "22001", "value too long for type character varying(1000)".into()),
        ("add_widget", r#"{"widget_sn": "H\u0000", "name": "n", "slots": []}"#, 400, "22P05", "unsupported Unicode escape sequence".into()),
        ("associate_widgets", r#"{"widget1_sn": "E", "widget2_sn": "F", "port": "X"}"#, 400, "22P02", port("X")),
        ("associate_widgets", r#"{"widget1_sn": "E", "widget2_sn": "E", "port": "x"}"#, 400, "22P02", port("x")),
        ("associate_widgets", r#"{"widget1_sn": null, "widget2_sn": "F", "port": "P"}"#, 400, "P0001", "Widget with serial number <NULL> does not exist".into()),
        ("associate_widgets", r#"{"widget1_sn": "E", "widget2_sn": "F", "port": null}"#, 400, "P0001", "Widget with serial number E does not not have available slots on port <NULL>".into()),
        // What the original looks at first decides, and it looks at the widgets before it looks at the port.
        ("add_widget", r#"{"widget_sn": "H", "name": "n", "slots": ["P", "P", "P", null]}"#, 400, "P0001", "Cannot add widget: too many slots (maximum is 3)".into()),
        ("add_widget", r#"{"widget_sn": "E", "name": "n", "slots": [null]}"#, 409, "23505", "duplicate key value violates unique constraint \"widgets_serial_number_key\"".into()),
        ("associate_widgets", r#"{"widget1_sn": "E", "widget2_sn": "E", "port": null}"#, 400, "P0001", "Widgets cannot self-associate".into()),
        ("associate_widgets", r#"{"widget1_sn": "X", "widget2_sn": null, "port": "P"}"#, 400, "P0001", "Widget with serial number X does not exist".into()),
        ("associate_widgets", r#"{"widget1_sn": "E", "widget2_sn": null, "port": "P"}"#, 400, "P0001", "Widget with serial number <NULL> does not exist".into()),
        ("associate_widgets", r#"{"widget1_sn": "E", "widget2_sn": "X", "port": null}"#, 400, "P0001", "Widget with serial number X does not exist".into()),
        ("remove_association", r#"{"widget1_sn": "E", "widget2_sn": "E", "port": null}"#, 400, "P0001", "Widgets cannot self-associate".into()),
        ("remove_association", r#"{"widget1_sn": "X", "widget2_sn": "F", "port": null}"#, 400, "P0001", "Widget with serial number X does not exist".into()),
        ("remove_association", r#"{"widget1_sn": "E", "widget2_sn": "F", "port": null}"#, 400, "P0001", "Widgets with serial numbers E and F are not associated on port <NULL>".into()),
        ("remove_association", r#"{"widget1_sn": "E", "port": "P"}"#, 404, "PGRST202", missing("remove_association(port, widget1_sn)")),
        ("remove_widget", r#"{"widget_sn": "E'; DROP TABLE widgets; --", "x": 1}"#, 404, "PGRST202", missing("remove_widget(widget_sn, x)")),
        // The other functions read their arguments alike.
        ("remove_widget", "{}", 404, "PGRST202", missing("remove_widget without parameters")),
        ("remove_widget", r#"{"widget": "E"}"#, 404, "PGRST202", missing("remove_widget(widget)")),
        ("remove_widget", r#"{"widget_sn": "E", "widget_sn": "F"}"#, 400, "PGRST102", "Empty or invalid json".into()),
        ("remove_widget", r#"{"widget_sn": 5}"#, 400, "22P02", "expected JSON string".into()),
        ("remove_widget", r#"{"widget_sn": ["E"]}"#, 400, "22P02", "expected JSON string".into()),
        ("remove_widget", r#"{"widget_sn": "E\u0000"}"#, 400, "22P05", "unsupported Unicode escape sequence".into()),
        ("associate_widgets", r#"{"widget1_sn": "E", "widget2_sn": "F", "ports": "P"}"#, 404, "PGRST202", missing("associate_widgets(ports, widget1_sn, widget2_sn)")),
        ("associate_widgets", r#"{"widget1_sn": "E", "widget2_sn": "F", "port": "P", "more": 1}"#, 404, "PGRST202", missing("associate_widgets(more, port, widget1_sn, widget2_sn)")),
        ("associate_widgets", r#"{"widget1_sn": "E", "widget2_sn": "F", "port": "P", "port": "R"}"#, 400, "PGRST102", "Empty or invalid json".into()),
        ("associate_widgets", r#"{"widget1_sn": 1, "widget2_sn": "F", "port": "P"}"#, 400, "22P02", "expected JSON string".into()),
        ("associate_widgets", r#"{"widget1_sn": "E", "widget2_sn": "F", "port": ["P"]}"#, 400, "22P02", "expected JSON string".into()),
        ("associate_widgets", r#"{"widget1_sn": "E\u0000", "widget2_sn": "F", "port": "P"}"#, 400, "22P05", "unsupported Unicode escape sequence".into()),
        ("remove_association", r#"{"widget1_sn": "E", "widget2_sn": "F", "port": "p"}"#, 400, "22P02", port("p")),
    ];
    for (function, body, status, code, message) in &cases {
        let answer = process.send(&format!("/rpc/{function}"), body).await;
        assert_error(&answer, *status, code, message);
        assert_eq!(process.table().await, before, "{function} {body}");
    }
    // What removes nothing is no mistake.
    for body in [
        r#"{"widget_sn": null}"#,
        r#"{"widget_sn": ""}"#,
        r#"{"widget_sn": "E'; DROP TABLE widgets; --"}"#,
        r#"{"widget_sn": "%"}"#,
    ] {
        assert_eq!(process.send("/rpc/remove_widget", body).await.status, 204);
    }
    assert_eq!(process.table().await, before);
    process.stop().await;
}

async fn calls_that_break_a_rule_are_refused_and_change_nothing(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    for (serial, slots) in [("E", "PPR"), ("F", "PPR"), ("G", "PR"), ("none", "")] {
        assert_eq!(process.add(serial, slots).await.status, 204);
    }
    for (first, second) in [("E", "F"), ("F", "G")] {
        let joined = process.pair("associate_widgets", first, second, "P").await;
        assert_eq!(joined.status, 204, "{}", joined.body);
    }
    let before = process.table().await;
    let many = process.add("H", "PPPP").await;
    let slots = "Cannot add widget: too many slots (maximum is 3)";
    assert_error(&many, 400, "P0001", slots);
    let taken = process.add("E", "Q").await;
    let key = "duplicate key value violates unique constraint \"widgets_serial_number_key\"";
    assert_error(&taken, 409, "23505", key);
    assert_eq!(process.table().await, before);

    let (join, part) = ("associate_widgets", "remove_association");
    let itself = "Widgets cannot self-associate";
    let long = "x".repeat(10_000);
    let injected = "E' OR '1'='1";
    let absent = |serial: &str| format!("Widget with serial number {serial} does not exist");
    let full = |serial: &str, port: &str| {
        format!(
            "Widget with serial number {serial} does not not have available slots on port {port}"
        )
    };
    let apart = |first: &str, second: &str| {
        format!("Widgets with serial numbers {first} and {second} are not associated on port P")
    };
    let twice = "duplicate key value violates unique constraint \"idx_unique_widget_slot_assoc_except_null_assoc\"";
    let cases = [
        (join, "E", "E", "P", 400, "P0001", itself.to_owned()),
        (join, "X", "X", "P", 400, "P0001", itself.to_owned()),
        (part, "E", "E", "P", 400, "P0001", itself.to_owned()),
        (join, "X", "F", "P", 400, "P0001", absent("X")),
        (join, "F", "X", "P", 400, "P0001", absent("X")),
        (join, "E", "", "R", 400, "P0001", absent("")),
        (join, "E", &long, "R", 400, "P0001", absent(&long)),
        (join, "E", injected, "R", 400, "P0001", absent(injected)),
        (part, "E", "X", "P", 400, "P0001", absent("X")),
        (part, "X", "E", "P", 400, "P0001", absent("X")),
        // All its slots are taken, or it has none of that port.
        (join, "E", "G", "P", 400, "P0001", full("G", "P")),
        (join, "none", "E", "P", 400, "P0001", full("none", "P")),
        (join, "E", "F", "Q", 400, "P0001", full("E", "Q")),
        // F has no slot left on which the two could be joined a second time.
        (join, "E", "F", "P", 400, "P0001", full("F", "P")),
        (part, "E", "G", "P", 400, "P0001", apart("E", "G")),
    ];
    for (function, first, second, port, status, code, message) in &cases {
        let answer = process.pair(function, first, second, port).await;
        assert_error(&answer, *status, code, message);
        let now = process.table().await;
        assert_eq!(now, before, "{function} {first} {second} {port}");
    }

    // Removing twice: what stood is gone once.
    assert_eq!(process.pair(part, "G", "F", "P").await.status, 204);
    let parted = process.table().await;
    let again = process.pair(part, "F", "G", "P").await;
    assert_error(&again, 400, "P0001", &apart("F", "G"));
    assert_eq!(process.table().await, parted);
    // Both have a free slot now.
    let again = process.pair(join, "F", "E", "P").await;
    assert_error(&again, 409, "23505", twice);
    assert_eq!(process.table().await, parted);
    assert_eq!(process.remove("G").await.status, 204);
    let removed = process.table().await;
    for serial in ["G", "X", &long, injected] {
        assert_eq!(process.remove(serial).await.status, 204);
        assert_eq!(process.table().await, removed, "{serial}");
    }
    process.stop().await;
}

async fn bytes_that_are_no_json_are_refused_and_change_nothing(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    let bodies: [&[u8]; 5] = [
        b"{\"widget_sn\": \"A\0\", \"name\": \"n\", \"slots\": []}",
        b"{\"widget_sn\": \"\xff\", \"name\": \"n\", \"slots\": []}",
        b"{\"widget_sn\": \"\\ud800\", \"name\": \"n\", \"slots\": []}",
        b"{\"widget_sn\": \"A\", \"name\": \"n\", \"slots\": []} {}",
        b"\0",
    ];
    for body in bodies {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/rpc/add_widget")
            .header("content-type", "application/json");
        let answer = process.request(request, Body::from(body)).await;
        assert_error(&answer, 400, "PGRST102", "Empty or invalid json");
    }
    let deep = format!(
        r#"{{"widget_sn": "A", "name": "n", "slots": {}}}"#,
        "[".repeat(30_000)
    );
    let answer = process.send("/rpc/add_widget", &deep).await;
    assert_error(&answer, 400, "PGRST102", "Empty or invalid json");
    assert!(process.table().await.is_empty());
    process.stop().await;
}

async fn other_methods_types_and_names_are_refused(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    for (method, code, message) in [
        (
            Method::GET,
            "25006",
            "cannot execute INSERT in a read-only transaction",
        ),
        (
            Method::DELETE,
            "PGRST101",
            "Cannot use the DELETE method on RPC",
        ),
        (Method::PUT, "PGRST101", "Cannot use the PUT method on RPC"),
    ] {
        let request = Request::builder().method(method).uri("/rpc/add_widget");
        let answer = process.request(request, Body::empty()).await;
        assert_error(&answer, 405, code, message);
        assert_eq!(answer.headers["allow"], "POST");
    }
    let form = Request::builder()
        .method(Method::POST)
        .uri("/rpc/add_widget")
        .header("content-type", "text/plain");
    let body = r#"{"widget_sn": "H", "name": "n", "slots": []}"#;
    let answer = process.request(form, Body::from(body)).await;
    assert_error(&answer, 415, "PGRST102", "Content-Type not acceptable");
    for (body, called) in [
        ("{}", "drop_everything without parameters"),
        (r#"{"now": 1, "all": null}"#, "drop_everything(all, now)"),
    ] {
        let answer = process.send("/rpc/drop_everything", body).await;
        let message = format!("Could not find the function widgets.{called} in the schema cache");
        assert_error(&answer, 404, "PGRST202", &message);
    }
    let answer = process.send("/rpc/drop_everything", "{").await;
    assert_error(&answer, 400, "PGRST102", "Empty or invalid json");
    let huge = format!(r#"{{"widget_sn": "{}"}}"#, "x".repeat(1 << 20));
    let answer = process.send("/rpc/add_widget", &huge).await;
    assert_error(&answer, 413, "PGRST102", "The body is larger than 64 KiB");
    assert!(process.table().await.is_empty());
    process.stop().await;
}

async fn odd_texts_are_kept_as_they_are(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    let odd = [
        "Łódź-№7 🔌",
        "a\"b\\c\n",
        "'; DROP TABLE widgets; --",
        " spaces ",
        "[1,2]",
        "{\"a\":1}",
        "%_",
        "\u{feff}x",
        "é",
        "e\u{301}",
    ];
    for serial in odd {
        let made = process.add(serial, "P").await;
        assert_eq!(made.status, 204, "{serial:?}: {}", made.body);
        assert_eq!(process.add(serial, "P").await.status, 409, "{serial:?}");
    }
    assert_eq!(process.table().await.len(), odd.len());
    for serial in odd {
        assert_eq!(process.remove(serial).await.status, 204);
    }
    assert!(process.table().await.is_empty());
    process.stop().await;
}
