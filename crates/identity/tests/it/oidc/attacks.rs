//! What must not lead to a sign-in.

use std::time::Duration;

use identity::Pkce;
use serde_json::json;
use store::on_every_engine;
use store::testing::TestStore;

use super::Stage;
use super::provider::Signing;
use primitives::Clock as _;

on_every_engine! {
    a_browser_that_did_not_begin_the_journey_does_not_end_it,
    a_code_is_good_once,
    statements_that_are_not_the_providers_are_not_believed,
    an_answer_of_another_provider_is_not_taken,
    a_ticket_is_good_once_soon_and_for_who_began,
    bad_beginnings_are_refused,
    a_provider_that_does_not_answer_leads_nowhere,
    a_document_of_another_provider_is_not_taken,
}

async fn stage(store: TestStore) -> Stage {
    Stage::set(store, |corp| corp.provision = true).await
}

async fn a_browser_that_did_not_begin_the_journey_does_not_end_it(store: TestStore) {
    let stage = stage(store).await;
    let (ours, theirs) = (Pkce::generate(), Pkce::generate());
    let (location, cookie) = stage.depart("corp", &ours).await;
    let (_, other_cookie) = stage.depart("corp", &theirs).await;
    let query = stage.provider.approve(&location);
    let (name, value) = cookie.split_once('=').unwrap();
    let forged = format!("{name}={}", value.replace(&value[10..20], "AAAAAAAAAA"));
    let moved = format!("{name}={}", other_cookie.split_once('=').unwrap().1);
    for cookie in ["", "a=b", &other_cookie, &forged, &moved] {
        let returned = stage.arrive("corp", &query, cookie).await;
        assert_eq!(returned.status, 400, "{cookie}");
    }
    for query in [
        "code=x&state=made-up-state",
        "code=x&state=",
        "code=x",
        "",
        "error=access_denied&state=%00%ff",
    ] {
        assert_eq!(
            stage.arrive("corp", query, &cookie).await.status,
            400,
            "{query}"
        );
    }
    // None of this has spoilt the journey.
    assert!(
        stage
            .arrive("corp", &query, &cookie)
            .await
            .outcome()
            .is_ok()
    );
    let (location, cookie) = stage.depart("corp", &ours).await;
    let query = stage.provider.approve(&location);
    stage.wait(Duration::from_mins(10));
    assert_eq!(stage.arrive("corp", &query, &cookie).await.status, 400);
}

async fn a_code_is_good_once(store: TestStore) {
    let stage = stage(store).await;
    let pkce = Pkce::generate();
    let (location, cookie) = stage.depart("corp", &pkce).await;
    let query = stage.provider.approve(&location);
    assert!(
        stage
            .arrive("corp", &query, &cookie)
            .await
            .outcome()
            .is_ok()
    );
    let again = stage.arrive("corp", &query, &cookie).await.outcome();
    assert_eq!(again, Err("refused_by_provider".to_owned()));
    // A code of one journey in another: the provider compares the verifier, and where it does not, the nonce differs.
    stage.provider.script(|script| script.is_careless = true);
    let (other, other_cookie) = stage.depart("corp", &pkce).await;
    let asked = other
        .query_pairs()
        .find(|(name, _)| name == "state")
        .unwrap()
        .1
        .into_owned();
    let code = query.split('&').next().unwrap();
    let mixed = format!("{code}&state={asked}");
    let outcome = stage.arrive("corp", &mixed, &other_cookie).await.outcome();
    assert_eq!(outcome, Err("refused_by_provider".to_owned()));
}

async fn statements_that_are_not_the_providers_are_not_believed(store: TestStore) {
    let stage = stage(store).await;
    let pkce = Pkce::generate();
    for signing in [Signing::None, Signing::Shared, Signing::Foreign] {
        stage.provider.script(|script| script.signing = signing);
        let outcome = stage.travel(&pkce).await;
        assert_eq!(outcome, Err("bad_token".to_owned()), "{signing:?}");
    }
    stage
        .provider
        .script(|script| script.signing = Signing::Good);
    let now = stage.app.clock.now().as_secs();
    for claims in [
        json!({"nonce": "another"}),
        json!({"nonce": null}),
        json!({"iss": "https://login.example.org"}),
        json!({"aud": "another"}),
        json!({"aud": ["remuda", "another"]}),
        json!({"azp": "another"}),
        json!({"exp": now - 61}),
        json!({"iat": now + 3600}),
        json!({"sub": ""}),
    ] {
        stage.provider.states(&claims);
        let outcome = stage.travel(&pkce).await;
        assert_eq!(outcome, Err("bad_token".to_owned()), "{claims}");
    }
    stage.provider.states(&json!({}));
    assert!(stage.travel(&pkce).await.is_ok());
}

async fn an_answer_of_another_provider_is_not_taken(store: TestStore) {
    let stage = stage(store).await;
    let pkce = Pkce::generate();
    // The browser was sent to one and comes back to the address of the other.
    let (location, cookie) = stage.depart("corp", &pkce).await;
    let query = stage.provider.approve(&location);
    let outcome = stage.arrive("other", &query, &cookie).await.outcome();
    assert_eq!(outcome, Err("mixed_up".to_owned()));
    // It comes back to the right one, with the name of the other.
    for issuer in ["https://evil.example.org", ""] {
        let query = format!("{query}&iss={issuer}");
        let outcome = stage.arrive("corp", &query, &cookie).await.outcome();
        assert_eq!(outcome, Err("mixed_up".to_owned()), "{issuer}");
    }
    let query = format!("{query}&iss={}", stage.provider.url);
    assert!(
        stage
            .arrive("corp", &query, &cookie)
            .await
            .outcome()
            .is_ok()
    );
    // A provider that promises to say who it is must.
    stage
        .provider
        .script(|script| script.promises_issuer = true);
    stage.wait(Duration::from_hours(1));
    assert_eq!(stage.travel(&pkce).await, Err("mixed_up".to_owned()));
}

async fn a_ticket_is_good_once_soon_and_for_who_began(store: TestStore) {
    let stage = stage(store).await;
    let (pkce, thief) = (Pkce::generate(), Pkce::generate());
    let ticket = stage.travel(&pkce).await.unwrap();
    assert_eq!(stage.present(&ticket, &pkce).await.status, 200);
    let spent = stage.present(&ticket, &pkce).await;
    assert_eq!(
        (spent.status, &spent.body["reason"]),
        (401, &json!("bad_ticket"))
    );

    let ticket = stage.travel(&pkce).await.unwrap();
    assert_eq!(stage.present(&ticket, &thief).await.status, 401);
    assert_eq!(
        stage.present(&ticket, &pkce).await.status,
        401,
        "it is burnt"
    );
    let (_, bob) = stage.app.person(&stage.admin, "bob", "user").await;
    let ticket = stage.travel(&pkce).await.unwrap();
    let body = json!({"ticket": ticket, "verifier": thief.verifier.expose()});
    let forced = stage
        .app
        .post("/api/v1/me/identities", Some(&bob), body)
        .await;
    assert_eq!(forced.status, 401, "nobody is linked to what another began");

    let ticket = stage.travel(&pkce).await.unwrap();
    stage.wait(Duration::from_mins(2));
    assert_eq!(stage.present(&ticket, &pkce).await.status, 401);
    assert_eq!(stage.present("", &pkce).await.status, 401);
}

async fn bad_beginnings_are_refused(store: TestStore) {
    let stage = stage(store).await;
    let good = Pkce::generate().challenge;
    for (query, status) in [
        (String::new(), 400),
        ("challenge=short".to_owned(), 400),
        (format!("challenge={good}x"), 400),
        (
            format!("challenge={good}&return_to=https://evil.example.org/"),
            400,
        ),
        (
            format!("challenge={good}&return_to=//evil.example.org/"),
            400,
        ),
        (format!("challenge={good}&more=1"), 400),
    ] {
        let path = format!("/api/v1/auth/oidc/corp/start?{query}");
        assert_eq!(stage.app.get(&path, None).await.status, status, "{query}");
    }
    let path = format!("/api/v1/auth/oidc/nobody/start?challenge={good}");
    assert_eq!(stage.app.get(&path, None).await.status, 404);
    assert_eq!(stage.arrive("nobody", "state=x", "a=b").await.status, 404);
    // Knocking is slowed down.
    let path = format!("/api/v1/auth/oidc/corp/start?challenge={good}");
    let mut last = 303;
    for _ in 0..70 {
        last = stage.app.get(&path, None).await.status;
    }
    assert_eq!(last, 429);
}

async fn a_provider_that_does_not_answer_leads_nowhere(store: TestStore) {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let stage = Stage::set(store, |corp| corp.issuer = gone).await;
    let path = format!(
        "/api/v1/auth/oidc/corp/start?challenge={}",
        Pkce::generate().challenge
    );
    let refused = stage.app.get(&path, None).await;
    assert_eq!(
        (refused.status, &refused.body["reason"]),
        (502, &json!("provider_failed"))
    );
}

async fn a_document_of_another_provider_is_not_taken(store: TestStore) {
    let stage = stage(store).await;
    let lie = Some("https://login.example.org".to_owned());
    stage.provider.script(|script| script.issuer = lie);
    let path = format!(
        "/api/v1/auth/oidc/corp/start?challenge={}",
        Pkce::generate().challenge
    );
    let refused = stage.app.get(&path, None).await;
    assert_eq!(
        (refused.status, &refused.body["reason"]),
        (502, &json!("provider_failed"))
    );
    let told = refused.body["detail"].as_str().unwrap();
    assert!(!told.contains("login.example.org"), "{told}");
}
