//! Who somebody is after a journey that went well.

use std::time::Duration;

use identity::{Pkce, Role};
use serde_json::json;
use store::on_every_engine;
use store::testing::TestStore;

use super::Stage;
use super::provider::rule;

on_every_engine! {
    who_is_not_known_gets_an_account_only_where_that_is_wanted,
    a_role_comes_from_the_first_rule_that_fits_and_follows_it,
    a_confirmed_address_finds_its_account_and_an_unconfirmed_one_does_not,
    who_administers_the_platform_is_never_found_by_address,
    who_is_signed_in_links_and_unlinks,
    a_second_factor_and_a_disabled_account_count_here_too,
    keys_are_fetched_again_when_the_provider_signs_with_another,
}

async fn who_is_not_known_gets_an_account_only_where_that_is_wanted(store: TestStore) {
    let stage = Stage::set(store, |corp| corp.provision = true).await;
    stage.app.person(&stage.admin, "ann", "user").await;
    stage.provider.states(&json!({
        "sub": "s-1", "preferred_username": "Ann", "name": "Ann of the lab",
        "email": "Ann@Example.org", "email_verified": true,
    }));
    let listed = stage.app.get("/api/v1/auth/oidc", None).await;
    assert_eq!(
        listed.body["items"][0],
        json!({"name": "corp", "label": "corp"})
    );
    let first = stage.sign_in().await;
    assert_eq!(first.status, 200, "{}", first.body);
    let session = first.body["access_token"].as_str().unwrap();
    let me = stage.app.get("/api/v1/me", Some(session)).await;
    assert_eq!(me.body["name"], "ann-2", "not who has that name already");
    assert_eq!(me.body["role"], "user");
    let profile = stage.app.get("/api/v1/me/profile", Some(session)).await;
    assert_eq!(profile.body["email"], "ann@example.org");
    assert_eq!(profile.body["display_name"], "Ann of the lab");

    let again = stage.sign_in().await;
    let session = again.body["access_token"].as_str().unwrap();
    let same = stage.app.get("/api/v1/me", Some(session)).await;
    assert_eq!(same.body["id"], me.body["id"]);
    let made = stage.recorded("user.provision").await;
    assert_eq!(made.len(), 1);
    assert_eq!(
        stage.recorded("session.start").await[0]["new"]["provider"],
        "corp"
    );

    // Nobody can guess a password that is not there, and nobody locks themselves out.
    for guess in ["", "!", "password1", "ann-2"] {
        let wrong = stage.app.log_in("ann-2", guess, "10.0.0.9").await;
        assert!(matches!(wrong.status, 401 | 429), "{}", wrong.body);
    }
    let mine = stage.app.get("/api/v1/me/identities", Some(session)).await;
    assert_eq!(mine.body["items"][0]["subject"], "s-1");
    assert!(mine.body["items"][0]["last_sign_in_at"].is_string());
    let path = "/api/v1/me/identities/corp";
    assert_eq!(stage.app.delete(path, Some(session)).await.status, 409);
}

async fn a_role_comes_from_the_first_rule_that_fits_and_follows_it(store: TestStore) {
    let stage = Stage::set(store, |corp| {
        corp.provision = true;
        corp.sync_roles = true;
        corp.rules = vec![
            rule("leads", Some("lab"), Role::Admin),
            rule("staff", Some("lab"), Role::User),
            rule("lost", Some("nowhere"), Role::User),
        ];
    })
    .await;
    let lab = json!({"name": "lab"});
    let lab = stage
        .app
        .post("/api/v1/organisations", Some(&stage.admin), lab)
        .await;
    stage
        .provider
        .states(&json!({"groups": ["staff", "leads"]}));
    let first = stage.sign_in().await;
    assert_eq!(first.status, 200, "{}", first.body);
    let leads = first.body["access_token"].as_str().unwrap();
    let me = stage.app.get("/api/v1/me", Some(leads)).await.body;
    assert_eq!(
        (&me["role"], &me["org_id"]),
        (&json!("admin"), &lab.body["id"])
    );

    // The last administrator of an organisation stays one, whatever the rules say; with another there, the role follows at once.
    stage.provider.states(&json!({"groups": "staff"}));
    assert_eq!(stage.sign_in().await.status, 200);
    assert_eq!(
        stage.app.get("/api/v1/me", Some(leads)).await.body["role"],
        "admin"
    );
    let body = json!({"username": "second", "password": "correct horse", "role": "admin", "org_id": lab.body["id"]});
    assert_eq!(
        stage
            .app
            .post("/api/v1/users", Some(&stage.admin), body)
            .await
            .status,
        201
    );
    assert_eq!(stage.sign_in().await.status, 200);
    assert_eq!(
        stage.app.get("/api/v1/me", Some(leads)).await.body["role"],
        "user"
    );

    for (groups, status, reason) in [
        (json!([]), 403, "no_role"),
        (json!("strangers"), 403, "no_role"),
    ] {
        stage.provider.states(&json!({"groups": groups}));
        let refused = stage.sign_in().await;
        assert_eq!(refused.status, status, "{}", refused.body);
        assert_eq!(refused.body["reason"], reason);
    }
    stage
        .provider
        .states(&json!({"sub": "another", "groups": "lost"}));
    let refused = stage.sign_in().await;
    assert_eq!(refused.status, 409, "{}", refused.body);
}

async fn a_confirmed_address_finds_its_account_and_an_unconfirmed_one_does_not(store: TestStore) {
    let stage = Stage::set(store, |corp| corp.link_by_email = true).await;
    let (_, session) = stage.app.person(&stage.admin, "ann", "user").await;
    let profile = json!({"email": "ann@example.org"});
    let edited = stage
        .app
        .patch("/api/v1/me/profile", Some(&session), profile)
        .await;
    assert_eq!(edited.status, 200, "{}", edited.body);
    for confirmed in [json!(false), json!("true"), json!(null)] {
        let claims = json!({"email": "ann@example.org", "email_verified": confirmed});
        stage.provider.states(&claims);
        let refused = stage.sign_in().await;
        assert_eq!(refused.status, 403, "{confirmed}: {}", refused.body);
        assert_eq!(refused.body["reason"], "no_account");
    }
    let claims = json!({"sub": "s-1", "email": "ANN@example.org", "email_verified": true});
    stage.provider.states(&claims);
    let signed_in = stage.sign_in().await;
    assert_eq!(signed_in.status, 200, "{}", signed_in.body);
    let ann = signed_in.body["access_token"].as_str().unwrap();
    assert_eq!(
        stage.app.get("/api/v1/me", Some(ann)).await.body["name"],
        "ann"
    );
    assert_eq!(stage.recorded("identity.link").await.len(), 1);
    // The address may belong to somebody else there one day.
    let claims = json!({"sub": "s-2", "email": "ann@example.org", "email_verified": true});
    stage.provider.states(&claims);
    assert_eq!(stage.sign_in().await.body["reason"], "no_account");
    // Once linked, the address does not matter.
    stage.provider.states(&json!({"sub": "s-1"}));
    assert_eq!(stage.sign_in().await.status, 200);
}

async fn who_administers_the_platform_is_never_found_by_address(store: TestStore) {
    let stage = Stage::set(store, |corp| {
        corp.link_by_email = true;
        corp.provision = true;
    })
    .await;
    let profile = json!({"email": "root@example.org"});
    let edited = stage
        .app
        .patch("/api/v1/me/profile", Some(&stage.admin), profile)
        .await;
    assert_eq!(edited.status, 200, "{}", edited.body);
    let claims = json!({"email": "root@example.org", "email_verified": true});
    stage.provider.states(&claims);
    let refused = stage.sign_in().await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    // By being signed in they are.
    assert_eq!(stage.link(&stage.admin).await.status, 201);
    assert_eq!(stage.sign_in().await.status, 200);
}

async fn who_is_signed_in_links_and_unlinks(store: TestStore) {
    let stage = Stage::set(store, |_| {}).await;
    let (_, ann) = stage.app.person(&stage.admin, "ann", "user").await;
    let (_, bob) = stage.app.person(&stage.admin, "bob", "user").await;
    stage.provider.states(&json!({"sub": "s-1"}));
    assert_eq!(stage.sign_in().await.body["reason"], "no_account");
    let linked = stage.link(&ann).await;
    assert_eq!(linked.status, 201, "{}", linked.body);
    assert_eq!(linked.body["provider"], "corp");
    let taken = stage.link(&bob).await;
    assert_eq!(
        (taken.status, &taken.body["reason"]),
        (409, &json!("identity_taken"))
    );
    stage.provider.states(&json!({"sub": "s-2"}));
    let second = stage.link(&ann).await;
    assert_eq!(
        (second.status, &second.body["reason"]),
        (409, &json!("already_linked"))
    );
    stage.provider.states(&json!({"sub": "s-1"}));
    let signed_in = stage.sign_in().await;
    let session = signed_in.body["access_token"].as_str().unwrap();
    assert_eq!(
        stage.app.get("/api/v1/me", Some(session)).await.body["name"],
        "ann"
    );
    // Keys are no people, and nobody else's identity can be taken away.
    let (_, key) = stage
        .app
        .key(&stage.admin, json!({"name": "k", "role": "admin"}))
        .await;
    assert_eq!(stage.link(&key).await.status, 403);
    let path = "/api/v1/me/identities/corp";
    assert_eq!(
        stage
            .app
            .get("/api/v1/me/identities", Some(&key))
            .await
            .status,
        403
    );
    assert_eq!(stage.app.delete(path, Some(&bob)).await.status, 404);
    assert_eq!(stage.app.delete(path, Some(&ann)).await.status, 204);
    assert_eq!(stage.recorded("identity.unlink").await.len(), 1);
    assert_eq!(stage.sign_in().await.body["reason"], "no_account");
    assert_eq!(stage.app.get("/api/v1/me", Some(session)).await.status, 200);
}

async fn a_second_factor_and_a_disabled_account_count_here_too(store: TestStore) {
    let stage = Stage::set(store, |_| {}).await;
    let (path, ann) = stage.app.person(&stage.admin, "ann", "user").await;
    assert_eq!(stage.link(&ann).await.status, 201);
    let codes = crate::totp::enrolled(&stage.app, &ann).await.1;
    let pkce = Pkce::generate();
    let ticket = stage.travel(&pkce).await.unwrap();
    let missing = stage.present(&ticket, &pkce).await;
    assert_eq!(
        (missing.status, &missing.body["reason"]),
        (401, &json!("code_required"))
    );
    let with =
        |code: &str| json!({"ticket": ticket, "verifier": pkce.verifier.expose(), "code": code});
    let token = "/api/v1/auth/oidc/token";
    assert_eq!(
        stage.app.post(token, None, with("000000")).await.status,
        401
    );
    let right = stage.app.post(token, None, with(&codes[0])).await;
    assert_eq!(right.status, 200, "{}", right.body);
    assert_eq!(
        stage.app.post(token, None, with(&codes[1])).await.status,
        401,
        "once"
    );

    let disabled = json!({"disabled": true});
    assert_eq!(
        stage
            .app
            .patch(&path, Some(&stage.admin), disabled)
            .await
            .status,
        200
    );
    let refused = stage.sign_in().await;
    assert_eq!(
        (refused.status, &refused.body["reason"]),
        (403, &json!("disabled"))
    );
}

async fn keys_are_fetched_again_when_the_provider_signs_with_another(store: TestStore) {
    let stage = Stage::set(store, |corp| corp.provision = true).await;
    assert_eq!(stage.sign_in().await.status, 200);
    stage.provider.rotate();
    let pkce = Pkce::generate();
    // Not for every token that names an unknown key: anybody can make those up.
    assert_eq!(stage.travel(&pkce).await, Err("bad_token".to_owned()));
    stage.wait(Duration::from_secs(11));
    assert_eq!(stage.sign_in().await.status, 200);
}
