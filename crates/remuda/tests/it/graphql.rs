//! GraphQL: the same operations with the same rights, and bounds on what a query may cost.

use serde_json::{Value, json};
use testbed::{Reply, System, TestClient};

use crate::golden::assert_golden;
use crate::harness::{Home, json as printed, succeed};
use crate::pair::created;

const SCHEMA: &str = "docs/schema.graphql";
const CONFIG: &str = "[auth]\nrequired = true\n";

async fn ask(client: &TestClient, query: &str) -> anyhow::Result<Reply> {
    client
        .post("/api/v1/graphql", &json!({"query": query}))
        .await
}

async fn data(client: &TestClient, query: &str) -> anyhow::Result<Value> {
    let reply = ask(client, query).await?;
    let answer = reply.json()?;
    anyhow::ensure!(
        reply.status == 200 && answer.get("errors").is_none(),
        "{answer}"
    );
    Ok(answer["data"].clone())
}

async fn refusal(client: &TestClient, query: &str) -> anyhow::Result<(u16, String, String)> {
    let reply = ask(client, query).await?;
    let answer = reply.json()?;
    let error = &answer["errors"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok((
        reply.status.as_u16(),
        text(&error["extensions"]["code"]),
        text(&error["message"]),
    ))
}

/// Somebody in an organisation, signed in.
async fn somebody(
    system: &System,
    admin: &TestClient,
    role: &str,
    org: &Value,
) -> anyhow::Result<TestClient> {
    let name = format!("{role}-{}", &org.as_str().unwrap_or_default()[30..]);
    let body =
        json!({"username": name, "password": "a password of theirs", "role": role, "org_id": org});
    created(admin, "/api/v1/users", body).await?;
    let sign_in = json!({"username": name, "password": "a password of theirs"});
    let signed_in = system.client().post("/api/v1/login", &sign_in).await?;
    let signed_in = signed_in.json()?;
    system
        .client()
        .with_key(signed_in["access_token"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_api_does_graphql_does() -> anyhow::Result<()> {
    let system = System::builder().config(CONFIG).start().await?;
    let admin = system.admin().await?;
    let made = data(&admin, "mutation { createKey(input: {name: \"one\", requestsPerMinute: 7}) { secret key { id name limits { requestsPerMinute } } } }").await?;
    let key = &made["createKey"];
    assert_eq!(key["key"]["limits"]["requestsPerMinute"], 7);
    let with_key = system
        .client()
        .with_key(key["secret"].as_str().unwrap_or_default())?;
    let me = data(&with_key, "{ me { kind name role } }").await?;
    assert_eq!(
        me["me"],
        json!({"kind": "key", "name": "one", "role": "user"})
    );
    let by_rest = admin.get("/api/v1/keys").await?.json()?;
    assert_eq!(by_rest["items"][0]["id"], key["key"]["id"]);

    // A change is in the journal, with its actor.
    let record = data(
        &admin,
        "{ audit(first: 1, action: \"key.create\") { items { actorName subjectId } } }",
    )
    .await?;
    assert_eq!(
        record["audit"]["items"][0],
        json!({"actorName": "admin", "subjectId": key["key"]["id"]})
    );

    let id = key["key"]["id"].as_str().unwrap_or_default();
    let revoked = data(&admin, &format!("mutation {{ revokeKey(id: \"{id}\") }}")).await?;
    assert_eq!(revoked["revokeKey"], true);
    assert_eq!(ask(&with_key, "{ me { name } }").await?.status, 401);

    // Pages lead on by cursors until there is nothing more.
    for number in 0..5 {
        let query = format!(
            "mutation {{ createUser(input: {{username: \"u{number}\", password: \"a password of u\"}}) {{ id }} }}"
        );
        data(&admin, &query).await?;
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let query = format!(
            "{{ users(first: 2, sort: NAME{after}) {{ items {{ username }} nextCursor total }} }}"
        );
        let page = &data(&admin, &query).await?["users"];
        assert_eq!(page["total"], 6);
        let names = page["items"].as_array().into_iter().flatten();
        seen.extend(names.map(|user| user["username"].as_str().unwrap_or_default().to_owned()));
        match page["nextCursor"].as_str() {
            Some(cursor) => after = format!(", after: \"{cursor}\""),
            None => break,
        }
    }
    assert_eq!(seen, ["admin", "u0", "u1", "u2", "u3", "u4"]);

    // Several things in one question; what fails does not take the rest along where it may be absent.
    let several = data(&admin, "{ me { name } nodes { items { name } } models { total } settings { version settings { key } } organisations { total } jobs { total } requests { items { id } } }").await?;
    assert_eq!(several["organisations"]["total"], 1);
    let version = several["settings"]["version"].as_str().unwrap_or_default();
    let set = |version: &str, most: i64| {
        let version = version.replace('"', "\\\"");
        format!(
            "mutation {{ setSettings(version: \"{version}\", values: [{{key: \"queue.batch\", integer: {most}}}]) {{ number }} }}"
        )
    };
    assert_eq!(
        data(&admin, &set(version, 77)).await?["setSettings"]["number"],
        1
    );
    let (status, code, _) = refusal(&admin, &set(version, 78)).await?;
    assert_eq!((status, code.as_str()), (412, "precondition_failed"));
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_and_organisations_are_those_of_the_api() -> anyhow::Result<()> {
    let system = System::builder().config(CONFIG).start().await?;
    let platform = system.admin().await?;
    let mut orgs = Vec::new();
    for name in ["lab", "other"] {
        let made = created(&platform, "/api/v1/organisations", json!({"name": name})).await?;
        orgs.push(made["id"].clone());
    }
    let lab = somebody(&system, &platform, "admin", &orgs[0]).await?;
    let stranger = somebody(&system, &platform, "admin", &orgs[1]).await?;
    let viewer = somebody(&system, &platform, "viewer", &orgs[0]).await?;
    let made = data(
        &lab,
        "mutation { createKey(input: {name: \"of lab\"}) { key { id } } }",
    )
    .await?;
    let key = made["createKey"]["key"]["id"].as_str().unwrap_or_default();

    // Another organisation's things do not exist.
    let show = format!("{{ key(id: \"{key}\") {{ name }} }}");
    let revoke = format!("mutation {{ revokeKey(id: \"{key}\") }}");
    let unknown = "{ key(id: \"00000000-0000-7000-8000-0000000000ff\") { name } }";
    let (status, code, message) = refusal(&stranger, &show).await?;
    assert_eq!((status, code.as_str()), (404, "not_found"));
    let (_, _, of_unknown) = refusal(&stranger, unknown).await?;
    let anonymised = of_unknown.replace("00000000-0000-7000-8000-0000000000ff", key);
    assert_eq!(message, anonymised);
    assert_eq!(refusal(&stranger, &revoke).await?.0, 404);
    let own = data(
        &stranger,
        "{ keys { items { name } total } users { total } organisations { total } }",
    )
    .await?;
    assert_eq!(
        own,
        json!({"keys": {"items": [], "total": 0}, "users": {"total": 1}, "organisations": {"total": 1}})
    );
    let narrowed = format!("{{ users(orgId: {}) {{ total }} }}", orgs[0]);
    assert_eq!(refusal(&stranger, &narrowed).await?.0, 404);

    // What takes rights takes them here as well.
    for (caller, query, status) in [
        (&viewer, "{ keys { total } }", 403),
        (
            &viewer,
            "mutation { createOrganisation(name: \"x\") { id } }",
            403,
        ),
        (&lab, "{ nodes { total } }", 403),
        (&lab, "{ requests { items { id } } }", 403),
        (
            &lab,
            "mutation { setSettings(values: [{key: \"queue.batch\", integer: 5}]) { number } }",
            403,
        ),
        (
            &lab,
            "mutation { createOrganisation(name: \"x\") { id } }",
            403,
        ),
        (&lab, "{ me { name } }", 200),
        (&viewer, "{ profile { username } }", 200),
    ] {
        let reply = ask(caller, query).await?;
        assert_eq!(reply.status, status, "{query}: {}", reply.text());
    }
    let nobody = system.client();
    assert_eq!(ask(&nobody, "{ me { name } }").await?.status, 401);
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_query_may_cost_is_bounded() -> anyhow::Result<()> {
    let system = System::builder().config(CONFIG).start().await?;
    let admin = system.admin().await?;
    let many = |what: &str, times: usize| -> String {
        let fields = (0..times).map(|number| format!("a{number}: {what}"));
        fields.collect::<Vec<_>>().join(" ")
    };
    let deep_fragment =
        "fragment f on User { ...g } fragment g on User { ...f } { users { items { ...f } } }";
    let nested = format!("{}{}", "{a".repeat(6_000), "}".repeat(6_000));
    for (what, query, hint) in [
        (
            "too many lists",
            format!(
                "{{{} }}",
                many("keys(first: 500) { items { id name } }", 11)
            ),
            "complex",
        ),
        (
            "too many changes",
            format!(
                "mutation {{{} }}",
                many("createOrganisation(name: \"x\") { id }", 11)
            ),
            "complex",
        ),
        (
            "a page out of range",
            "{ keys(first: 501) { total } }".to_owned(),
            "1 to 500",
        ),
        (
            "a page below zero",
            "{ keys(first: -1) { total } }".to_owned(),
            "1 to 500",
        ),
        (
            "a cursor of nobody",
            "{ keys(after: \"nonsense\") { total } }".to_owned(),
            "cursor",
        ),
        ("fragments in a circle", deep_fragment.to_owned(), ""),
        ("text that nests", nested, ""),
        ("no query", "{".to_owned(), ""),
        ("an unknown field", "{ secrets }".to_owned(), "secrets"),
        (
            "a text too long",
            format!("{{ me {{ name }} }} #{}", "x".repeat(40_000)),
            "",
        ),
    ] {
        let reply = ask(&admin, &query).await?;
        assert_eq!(reply.status, 400, "{what}: {}", reply.text());
        assert!(reply.text().contains(hint), "{what}: {}", reply.text());
    }
    let organisations = data(&admin, "{ organisations { total } }").await?;
    assert_eq!(
        organisations["organisations"]["total"], 1,
        "nothing was made"
    );
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_is_shown_to_administrators() -> anyhow::Result<()> {
    assert_golden(SCHEMA, &graphql::description());
    let system = System::builder().config(CONFIG).start().await?;
    let admin = system.admin().await?;
    let introspection = "{ __schema { queryType { name } } }";
    let shown = data(&admin, introspection).await?;
    assert_eq!(shown["__schema"]["queryType"]["name"], "Query");
    let org = admin.get("/api/v1/me").await?.json()?["org_id"].clone();
    let user = somebody(&system, &admin, "user", &org).await?;
    let reply = ask(&user, introspection).await?;
    assert!(!reply.text().contains("queryType\":{"), "{}", reply.text());
    system.stop().await;
    Ok(())
}

#[test]
fn the_command_line_asks_and_says_what_went_wrong() {
    let home = Home::new();
    let mut up = home.up();
    up.env("REMUDA_ADMIN_PASSWORD", crate::harness::PASSWORD);
    let server = crate::harness::Server::start(up);
    let remuda = |arguments: [&str; 2]| {
        let mut command = home.remuda(arguments);
        command.env("REMUDA_HOST", server.url());
        command
    };
    let me = printed(&mut remuda(["graphql", "{ me { kind } }"]));
    assert_eq!(me["me"]["kind"], "anonymous");
    let output = remuda(["graphql", "{ nodes { total } }"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    let mut login = home.remuda(["login", "--username", "admin", "--password-stdin"]);
    login
        .env("REMUDA_HOST", server.url())
        .stdin(home.password_file());
    succeed(&mut login);
    let nodes = printed(&mut remuda(["graphql", "{ nodes { items { name } } }"]));
    assert_eq!(nodes["nodes"]["items"][0]["name"], "embedded");
}
