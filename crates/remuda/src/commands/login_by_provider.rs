//! `remuda login --provider`: the browser signs in, and brings a ticket back to this program (RFC 8252, section 7.3).

use std::time::Duration;

use identity::Pkce;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::context::Context;
use super::failure::Failure;
use crate::client::query;
use crate::output::remark;

/// How long a person may take.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long a browser may take to send a request's head.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of a request's head that are looked at.
const HEAD: usize = 8 << 10;

/// What the person sees in the end.
const PAGE: &str = "<!doctype html><meta charset=utf-8><title>Remuda</title><p>Go back to the terminal: this page can be closed.";

/// What a browser has brought.
enum Brought {
    Ticket(String),
    Error(String),
}

/// Signs in by a provider's page and returns the session that the server has begun.
pub(super) async fn sign_in(
    context: &Context,
    provider: &str,
    code: Option<String>,
) -> Result<Value, Failure> {
    check_name(context, provider).await?;
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(Failure::Runtime)?;
    let address = listener.local_addr().map_err(Failure::Runtime)?;
    let pkce = Pkce::generate();
    let path = query(
        &format!("/api/v1/auth/oidc/{provider}/start"),
        &[
            ("challenge", Some(pkce.challenge.as_str())),
            ("return_to", Some(&format!("http://{address}/"))),
        ],
    );
    remark(&format!(
        "Open this page in a browser on this machine and sign in there:\n{}",
        context.server.join(&path)
    ));
    let brought = tokio::select! {
        brought = tokio::time::timeout(PATIENCE, wait(&listener)) => brought,
        _ = tokio::signal::ctrl_c() => return Err(Failure::Interrupted),
    };
    let ticket = match brought {
        Ok(Brought::Ticket(ticket)) => ticket,
        Ok(Brought::Error(reason)) => {
            return Err(Failure::Refused(format!(
                "the sign-in failed ({reason}): the server's log has the reason"
            )));
        }
        Err(_) => {
            return Err(Failure::Refused(
                "nobody has signed in for 10 minutes: begin again".to_owned(),
            ));
        }
    };
    let asked = code.is_none();
    let mut body = json!({"ticket": ticket, "verifier": pkce.verifier.expose(), "code": code});
    let api = context.anonymous_api()?;
    match api.post("/api/v1/auth/oidc/token", &body).await {
        Err(error) if asked && error.reason() == Some("code_required") => {
            body["code"] = json!(super::totp::ask_code()?);
            Ok(api.post("/api/v1/auth/oidc/token", &body).await?)
        }
        outcome => Ok(outcome?),
    }
}

/// Refuses a provider that the server does not have.
async fn check_name(context: &Context, provider: &str) -> Result<(), Failure> {
    let list = context.anonymous_api()?.get("/api/v1/auth/oidc").await?;
    let items = list.get("items").and_then(Value::as_array);
    let names: Vec<&str> = items
        .into_iter()
        .flatten()
        .filter_map(|item| item.get("name")?.as_str())
        .collect();
    if names.contains(&provider) {
        return Ok(());
    }
    Err(Failure::Refused(match names.as_slice() {
        [] => format!("the server has no sign-in provider {provider:?}, nor any other"),
        names => format!(
            "the server has no sign-in provider {provider:?}: choose among {}",
            names.join(", ")
        ),
    }))
}

/// Waits for the request that brings something; others, as for an icon, are answered and forgotten.
async fn wait(listener: &TcpListener) -> Brought {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if let Ok(Some(brought)) = tokio::time::timeout(HEAD_PATIENCE, answer(stream)).await {
            return brought;
        }
    }
}

async fn answer(mut stream: TcpStream) -> Option<Brought> {
    let mut head = Vec::with_capacity(HEAD);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD {
        if stream.read_buf(&mut head).await.ok()? == 0 {
            break;
        }
    }
    let text = String::from_utf8_lossy(&head);
    let brought = read(text.lines().next()?);
    let status = if brought.is_some() {
        "200 OK"
    } else {
        "404 Not Found"
    };
    let page = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{PAGE}",
        PAGE.len()
    );
    // The ticket counts also where the browser does not wait for the page.
    if let Err(error) = stream.write_all(page.as_bytes()).await {
        tracing::debug!(%error, "the browser did not take the page");
    }
    if let Err(error) = stream.shutdown().await {
        tracing::debug!(%error, "the browser did not take the page");
    }
    brought
}

fn read(line: &str) -> Option<Brought> {
    let target = line.strip_prefix("GET ")?.split(' ').next()?;
    let url = Url::parse("http://127.0.0.1").ok()?.join(target).ok()?;
    url.query_pairs().find_map(|(name, value)| match &*name {
        "ticket" => Some(Brought::Ticket(value.into_owned())),
        "error" => Some(Brought::Error(value.into_owned())),
        _ => None,
    })
}
