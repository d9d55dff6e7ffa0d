//! The journal of changes: every change is in it, with who and from where, and damage to it is noticed.

use std::time::Duration;

use identity::{AuthConfig, Registration};
use serde_json::{Value, json};
use store::testing::TestStore;

use crate::app::{Answer, PASSWORD, REQUIRED, TestApp};

store::on_every_engine! {
    every_change_is_recorded_with_who_and_from_where,
    what_was_before_and_after_is_recorded_without_secrets,
    a_refused_change_leaves_no_record,
    changes_of_two_replicas_at_once_stand_in_one_chain,
    changes_of_one_key_at_once_know_each_other,
    records_are_filtered_and_of_ones_own_organisation,
    a_changed_removed_or_inserted_record_is_named,
    removed_records_at_the_end_are_noticed,
    old_records_go_and_the_rest_is_still_whole,
    records_of_an_earlier_build_verify_and_their_chain_goes_on,
}

async fn records(app: &TestApp, by: &str, query: &str) -> Vec<Value> {
    let list = app
        .get(&format!("/api/v1/audit?limit=500{query}"), Some(by))
        .await;
    assert_eq!(list.status, 200, "{}", list.body);
    list.body["items"].as_array().unwrap().clone()
}

async fn actions(app: &TestApp, by: &str, query: &str) -> Vec<String> {
    let mut actions: Vec<String> = records(app, by, query)
        .await
        .iter()
        .map(|record| record["action"].as_str().unwrap().to_owned())
        .collect();
    actions.reverse();
    actions
}

async fn verify(app: &TestApp, by: &str) -> Value {
    let state = app.get("/api/v1/audit/verify", Some(by)).await;
    assert_eq!(state.status, 200, "{}", state.body);
    state.body
}

async fn change(app: &TestApp, sql: &'static str) {
    let mut tx = app.db.write().await.unwrap();
    assert_eq!(tx.execute(sql, ()).await.unwrap(), 1, "{sql}");
    tx.commit().await.unwrap();
}

fn done(answer: &Answer) {
    assert!((200..300).contains(&answer.status), "{}", answer.body);
}

async fn every_change_is_recorded_with_who_and_from_where(store: TestStore) {
    let app = TestApp::start(store).await;
    app.set_up().await;
    let app = app
        .restarted(AuthConfig {
            registration: Registration::Open,
            ..REQUIRED
        })
        .await;
    let admin = app.log_in("admin", PASSWORD, "10.1.1.1").await.body["token"].clone();
    let admin = admin.as_str().unwrap();
    let (ann, session) = app.person(admin, "ann", "admin").await;
    let (key, _) = app.key(&session, json!({"name": "k"})).await;
    let key = format!("/api/v1/keys/{key}");
    let invited = app
        .post("/api/v1/invitations", Some(admin), json!({}))
        .await;
    let invitation = format!(
        "/api/v1/invitations/{}",
        invited.body["id"].as_str().unwrap()
    );
    let reset = app
        .post(&format!("{ann}/password-reset"), Some(admin), Value::Null)
        .await;
    for answer in [
        app.patch(&key, Some(admin), json!({"name": "k2"})).await,
        app.delete(&key, Some(admin)).await,
        app.delete(&key, Some(admin)).await,
        app.delete(&invitation, Some(admin)).await,
        app.post("/api/v1/organisations", Some(admin), json!({"name": "o"}))
            .await,
        app.patch(
            "/api/v1/me/profile",
            Some(&session),
            json!({"email": "a@b"}),
        )
        .await,
        app.put(
            "/api/v1/me/password",
            Some(&session),
            json!({"current": PASSWORD, "new": "another one"}),
        )
        .await,
        app.patch(&ann, Some(admin), json!({"role": "user"})).await,
        app.post(
            "/api/v1/password-reset",
            None,
            json!({"token": reset.body["token"], "password": PASSWORD}),
        )
        .await,
        app.post(
            "/api/v1/register",
            None,
            json!({"username": "eve", "password": PASSWORD}),
        )
        .await,
    ] {
        done(&answer);
    }
    let ann = app.log_in("ann", PASSWORD, "10.1.1.2").await.body["token"].clone();
    done(&app.post("/api/v1/logout", ann.as_str(), Value::Null).await);
    let eve = app.sign_in("eve").await;
    done(&app.delete("/api/v1/me/sessions", Some(&eve)).await);

    assert_eq!(
        actions(&app, admin, "").await,
        [
            "signing_key.make",
            "setup",
            "session.start",
            "user.create",
            "session.start",
            "key.create",
            "invitation.create",
            "password.reset_start",
            "key.edit",
            "key.revoke",
            "invitation.withdraw",
            "organisation.create",
            "profile.edit",
            "password.change",
            "user.edit",
            "password.reset",
            "user.register",
            "session.start",
            "session.end",
            "session.start",
            "session.end_all",
        ]
    );
    let signed_in = &records(&app, admin, "&action=session.start").await[3];
    assert_eq!(signed_in["ip"], "10.1.1.1");
    assert_eq!(
        (&signed_in["actor_kind"], &signed_in["actor_name"]),
        (&json!("user"), &json!("admin"))
    );
    let state = verify(&app, admin).await;
    assert_eq!(state["whole"], true);
    assert_eq!(
        (&state["verified"], &state["first"], &state["last"]),
        (&json!(21), &json!(1), &json!(21))
    );
}

async fn what_was_before_and_after_is_recorded_without_secrets(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (ann, session) = app.person(&admin, "ann", "user").await;
    let reset = "a lost one found";
    let edit = json!({"role": "viewer", "password": reset});
    done(&app.patch(&ann, Some(&admin), edit).await);
    let (key, secret) = app
        .key(&admin, json!({"name": "k", "models": ["phi3"]}))
        .await;
    let path = format!("/api/v1/keys/{key}");
    let edit = json!({"models": null, "limits": {"requests_per_minute": 9}});
    done(&app.patch(&path, Some(&admin), edit).await);

    let edited = &records(&app, &admin, "&action=user.edit").await[0];
    assert_eq!(
        (&edited["old"]["role"], &edited["new"]["role"]),
        (&json!("user"), &json!("viewer"))
    );
    assert_eq!(edited["subject_id"], ann.rsplit('/').next().unwrap());
    let edited = &records(&app, &admin, &format!("&subject_id={key}")).await[0];
    assert_eq!(edited["action"], "key.edit");
    assert_eq!(edited["old"]["models"], json!(["phi3"]));
    assert_eq!(edited["new"]["models"], Value::Null);
    assert_eq!(edited["new"]["requests_per_minute"], 9);
    let all = json!(records(&app, &admin, "").await).to_string();
    for secret in [
        PASSWORD,
        reset,
        &secret,
        &session,
        &admin,
        app.setup_token().expose(),
    ] {
        assert!(!all.contains(secret));
    }
}

async fn a_refused_change_leaves_no_record(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    app.key(&admin, json!({"name": "k"})).await;
    let before = actions(&app, &admin, "").await;
    for (path, body) in [
        ("/api/v1/keys", json!({"name": "k"})),
        (
            "/api/v1/users",
            json!({"username": "admin", "password": PASSWORD}),
        ),
        (
            "/api/v1/login",
            json!({"username": "admin", "password": "wrong horse"}),
        ),
        ("/api/v1/organisations", json!({"name": "default"})),
    ] {
        assert!(
            app.post(path, Some(&admin), body).await.status >= 400,
            "{path}"
        );
    }
    assert_eq!(actions(&app, &admin, "").await, before);
    assert_eq!(verify(&app, &admin).await["whole"], true);
}

async fn changes_of_two_replicas_at_once_stand_in_one_chain(store: TestStore) {
    const KEYS: usize = 20;
    const CHANGES: usize = 5;
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let replica = app.replica().await;
    let change_often = async |at: usize| {
        let name = format!("key {at}");
        let (key, secret) = app.key(&admin, json!({"name": name})).await;
        let app = if at.is_multiple_of(2) { &app } else { &replica };
        for limit in 1..=CHANGES {
            let edit = json!({"limits": {"requests_per_minute": limit}});
            let path = format!("/api/v1/keys/{key}");
            done(&app.patch(&path, Some(&admin), edit).await);
        }
        secret
    };
    let secrets = futures_util::future::join_all((0..KEYS).map(change_often)).await;
    let state = verify(&app, &admin).await;
    assert_eq!(state["whole"], true, "{state}");
    let edits = records(&app, &admin, "&action=key.edit").await;
    assert_eq!(edits.len(), KEYS * CHANGES);
    for app in [&app, &replica] {
        app.identity.reconcile_once().await.unwrap();
        for secret in &secrets {
            let limits = app.authenticate(Some(secret)).unwrap().limits;
            assert_eq!(limits.requests_per_minute, Some(5));
        }
    }
}

async fn changes_of_one_key_at_once_know_each_other(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let replica = app.replica().await;
    let (key, secret) = app.key(&admin, json!({"name": "0"})).await;
    let path = format!("/api/v1/keys/{key}");
    for round in 1..=5 {
        let edits = [
            json!({"name": round.to_string()}),
            json!({"limits": {"requests_per_minute": round}}),
            json!({"models": [round.to_string()]}),
            json!({"priority": if round % 2 == 0 { "batch" } else { "default" }}),
        ];
        let changes = edits.iter().enumerate().map(async |(at, edit)| {
            let app = if at < 2 { &app } else { &replica };
            done(&app.patch(&path, Some(&admin), edit.clone()).await);
        });
        futures_util::future::join_all(changes).await;
        let now = app.get(&path, Some(&admin)).await.body;
        for edit in edits {
            for (name, value) in edit.as_object().unwrap() {
                assert_eq!(now[name], *value, "{now}");
            }
        }
    }
    assert_eq!(verify(&app, &admin).await["whole"], true);
    // Each began where the one before it had ended.
    let edits = records(&app, &admin, "&action=key.edit").await;
    assert_eq!(edits.len(), 20);
    for pair in edits.windows(2) {
        assert_eq!(pair[0]["old"], pair[1]["new"]);
    }
    app.identity.reconcile_once().await.unwrap();
    let limits = app.authenticate(Some(&secret)).unwrap().limits;
    assert_eq!(limits.requests_per_minute, Some(5));
}

async fn records_are_filtered_and_of_ones_own_organisation(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let made = app
        .post("/api/v1/organisations", Some(&admin), json!({"name": "o"}))
        .await;
    let org = made.body["id"].as_str().unwrap();
    let body = json!({"username": "boss", "password": PASSWORD, "role": "admin", "org_id": org});
    done(&app.post("/api/v1/users", Some(&admin), body).await);
    app.wait(Duration::from_secs(10));
    let boss = app.sign_in("boss").await;
    app.key(&boss, json!({"name": "k"})).await;
    assert_eq!(
        actions(&app, &boss, "").await,
        [
            "organisation.create",
            "user.create",
            "session.start",
            "key.create"
        ]
    );
    assert_eq!(
        actions(&app, &admin, &format!("&org_id={org}")).await.len(),
        4
    );
    let me = app.get("/api/v1/me", Some(&boss)).await.body;
    let by_boss = format!("&actor_id={}", me["id"].as_str().unwrap());
    assert_eq!(
        actions(&app, &admin, &by_boss).await,
        ["session.start", "key.create"]
    );
    let since = "&since=2026-01-02T03:04:15Z";
    assert_eq!(
        actions(&app, &admin, since).await,
        ["session.start", "key.create"]
    );
    let until = "&until=2026-01-02T03:04:15Z";
    assert_eq!(
        actions(&app, &boss, until).await,
        ["organisation.create", "user.create"]
    );
    let default = identity::DEFAULT_ORG;
    let path = format!("/api/v1/audit?org_id={default}");
    assert_eq!(app.get(&path, Some(&boss)).await.status, 404);
    assert_eq!(
        app.get("/api/v1/audit/verify", Some(&boss)).await.status,
        403
    );
    for bad in ["?since=yesterday", "?cursor=x", "?actor=x"] {
        let answer = app.get(&format!("/api/v1/audit{bad}"), Some(&admin)).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
    let first = app.get("/api/v1/audit?limit=2", Some(&boss)).await.body;
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = app
        .get(
            &format!("/api/v1/audit?limit=2&cursor={cursor}"),
            Some(&boss),
        )
        .await
        .body;
    assert_eq!(rest["items"][0]["action"], "user.create");
    assert_eq!(rest["next_cursor"], Value::Null);
}

async fn a_changed_removed_or_inserted_record_is_named(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    for number in 0..5 {
        app.key(&admin, json!({"name": format!("k{number}")})).await;
    }
    let whole = verify(&app, &admin).await;
    assert_eq!(
        (&whole["whole"], &whole["verified"]),
        (&json!(true), &json!(7))
    );
    // Every column counts; each change is taken back.
    for (damage, repair) in [
        (
            "UPDATE audit_log SET at = at + 1 WHERE seq = 4",
            "UPDATE audit_log SET at = at - 1 WHERE seq = 4",
        ),
        (
            "UPDATE audit_log SET action = 'key.edit' WHERE seq = 4",
            "UPDATE audit_log SET action = 'key.create' WHERE seq = 4",
        ),
        (
            "UPDATE audit_log SET actor_kind = 'key' WHERE seq = 4",
            "UPDATE audit_log SET actor_kind = 'user' WHERE seq = 4",
        ),
        (
            "UPDATE audit_log SET actor_name = 'eve' WHERE seq = 4",
            "UPDATE audit_log SET actor_name = 'admin' WHERE seq = 4",
        ),
        (
            "UPDATE audit_log SET actor_id = actor_id || 'x' WHERE seq = 4",
            "UPDATE audit_log SET actor_id = substr(actor_id, 1, 36) WHERE seq = 4",
        ),
        (
            "UPDATE audit_log SET org_id = NULL WHERE seq = 4",
            "UPDATE audit_log SET org_id = '00000000-0000-7000-8000-000000000001' WHERE seq = 4",
        ),
        (
            "UPDATE audit_log SET subject_kind = 'x' WHERE seq = 4",
            "UPDATE audit_log SET subject_kind = 'key' WHERE seq = 4",
        ),
        (
            "UPDATE audit_log SET subject_id = subject_id || 'x' WHERE seq = 4",
            "UPDATE audit_log SET subject_id = substr(subject_id, 1, 36) WHERE seq = 4",
        ),
        (
            "UPDATE audit_log SET ip = '' WHERE seq = 4",
            "UPDATE audit_log SET ip = NULL WHERE seq = 4",
        ),
        (
            "UPDATE audit_log SET user_agent = '' WHERE seq = 4",
            "UPDATE audit_log SET user_agent = NULL WHERE seq = 4",
        ),
        (
            "UPDATE audit_log SET old = '{}' WHERE seq = 4",
            "UPDATE audit_log SET old = NULL WHERE seq = 4",
        ),
        (
            "UPDATE audit_log SET new = new || ' ' WHERE seq = 4",
            "UPDATE audit_log SET new = substr(new, 1, length(new) - 1) WHERE seq = 4",
        ),
    ] {
        change(&app, damage).await;
        let state = verify(&app, &admin).await;
        assert_eq!(
            (&state["whole"], &state["broken"]["seq"]),
            (&json!(false), &json!(4)),
            "{damage}"
        );
        assert_eq!(state["last"], 3);
        change(&app, repair).await;
        assert_eq!(verify(&app, &admin).await["whole"], true, "{repair}");
    }
    change(&app, "DELETE FROM audit_log WHERE seq = 5").await;
    assert_eq!(verify(&app, &admin).await["broken"]["seq"], 5);
    change(&app, "UPDATE audit_log SET seq = 5 WHERE seq = 6").await;
    assert_eq!(
        verify(&app, &admin).await["broken"]["seq"],
        5,
        "put in its place"
    );
}

async fn removed_records_at_the_end_are_noticed(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    app.key(&admin, json!({"name": "k"})).await;
    change(&app, "DELETE FROM audit_log WHERE seq = 3").await;
    let state = verify(&app, &admin).await;
    assert_eq!(
        (&state["whole"], &state["broken"]["seq"]),
        (&json!(false), &json!(3))
    );
    let reason = state["broken"]["reason"].as_str().unwrap();
    assert!(reason.contains("removed from the end"), "{reason}");
}

async fn old_records_go_and_the_rest_is_still_whole(store: TestStore) {
    let app = TestApp::start(store).await;
    app.set_up().await;
    let app = app
        .restarted(AuthConfig {
            audit_retention: Duration::from_hours(10 * 24),
            ..REQUIRED
        })
        .await;
    app.identity.reconcile_once().await.unwrap();
    app.wait(Duration::from_hours(30 * 24));
    let admin = app.sign_in("admin").await;
    app.key(&admin, json!({"name": "k"})).await;
    app.identity.reconcile_once().await.unwrap();
    assert_eq!(records(&app, &admin, "").await.len(), 5);
    app.wait(Duration::from_hours(15 * 24));
    app.identity.reconcile_once().await.unwrap();
    let admin = app.sign_in("admin").await;
    assert_eq!(
        actions(&app, &admin, "").await,
        [
            "session.start",
            "key.create",
            "signing_key.make",
            "audit.trim",
            "session.start"
        ]
    );
    let state = verify(&app, &admin).await;
    assert_eq!(
        (&state["whole"], &state["first"]),
        (&json!(true), &json!(3))
    );
    change(
        &app,
        "UPDATE audit_log SET actor_name = 'eve' WHERE seq = 3",
    )
    .await;
    assert_eq!(verify(&app, &admin).await["broken"]["seq"], 3);
}

/// The hash of a record as builds without commitments computed it.
fn earlier_hash(before: &[u8], seq: i64, at: i64, fields: [Option<&str>; 11]) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"remuda audit 1");
    hasher.update(before);
    hasher.update(&seq.to_le_bytes());
    hasher.update(&at.to_le_bytes());
    for field in fields {
        match field {
            None => {
                hasher.update(&[0]);
            }
            Some(text) => {
                hasher.update(&[1]);
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        }
    }
    hasher.finalize().as_bytes().to_vec()
}

async fn records_of_an_earlier_build_verify_and_their_chain_goes_on(store: TestStore) {
    let app = TestApp::start(store).await;
    let admin = app.set_up().await;
    let (ann, _) = app.person(&admin, "ann", "user").await;
    let id = ann.rsplit('/').next().unwrap().to_owned();
    let mut tx = app.db.write().await.unwrap();
    let mark = tx
        .fetch_optional("SELECT value FROM settings WHERE key = 'audit.head'", ())
        .await
        .unwrap()
        .unwrap();
    let mark: String = mark.get("value").unwrap();
    let mut parts = mark.split(':');
    let mut seq: i64 = parts.next().unwrap().parse().unwrap();
    let mut hash = hex::decode(parts.next().unwrap()).unwrap();
    let at: i64 = parts.next().unwrap().parse().unwrap();
    for name in ["ann", "somebody"] {
        seq += 1;
        let actor = if name == "ann" { id.as_str() } else { "x" };
        let fields = [
            Some("key.create"),
            Some("user"),
            Some(actor),
            Some(name),
            None,
            Some("key"),
            Some("k"),
            Some("192.0.2.1"),
            None,
            None,
            Some("{}"),
        ];
        hash = earlier_hash(&hash, seq, at, fields);
        tx.execute(
            "INSERT INTO audit_log (seq, at, action, actor_kind, actor_id, actor_name, subject_kind, subject_id, ip, new, hash)
             VALUES ($1, $2, 'key.create', 'user', $3, $4, 'key', 'k', '192.0.2.1', '{}', $5)",
            store::params![seq, at, actor, name, hash.clone()],
        )
        .await
        .unwrap();
    }
    let mark = format!("{seq}:{}", hex::encode(&hash));
    tx.execute(
        "UPDATE settings SET value = $1 WHERE key = 'audit.head'",
        store::params![mark],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    app.key(&admin, json!({"name": "k"})).await;
    let state = verify(&app, &admin).await;
    assert_eq!(
        (&state["whole"], &state["last"], &state["erased"]),
        (&json!(true), &json!(seq + 1), &json!(0)),
        "{state}"
    );
    // Once something of it is erased, such a record is followed by its stored hash; the others are computed as before.
    let erased = app
        .post(
            &format!("{ann}/erase"),
            Some(&admin),
            json!({"username": "ann"}),
        )
        .await;
    done(&erased);
    let state = verify(&app, &admin).await;
    assert_eq!(
        (&state["whole"], &state["followed"]),
        (&json!(true), &json!(1)),
        "{state}"
    );
    change(
        &app,
        "UPDATE audit_log SET new = '[]' WHERE actor_name = 'somebody'",
    )
    .await;
    let state = verify(&app, &admin).await;
    assert_eq!(state["broken"]["seq"], seq, "{state}");
}
