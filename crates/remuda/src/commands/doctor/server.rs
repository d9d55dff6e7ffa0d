//! The running server, or the free address for one, and the person's sign-in there.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use web::tls::Certificate;

use super::super::context::Context;
use super::super::failure::Failure;
use super::Finding;
use crate::client::{Api, ClientError, CredentialStore, Health, remedy};
use crate::config::Config;
use crate::start::listener::base_url;

/// What is known about the server.
pub(super) enum Server {
    /// It answers.
    Up(Api),
    /// Nobody answers as Remuda.
    Down,
}

/// Asks the server how it is; without one, looks whether its address is free.
pub(super) async fn check(
    context: &Context,
    config: &Config,
    certificate: Option<&Certificate>,
    findings: &mut Vec<Finding>,
) -> Result<Server, Failure> {
    let server = match base_url(config.server.listen, certificate).parse() {
        // Without an explicit --server the doctor looks where the configuration listens.
        Ok(server) if context.server.is_default() => server,
        _ => context.server.clone(),
    };
    let api = Api::new(
        server.clone(),
        context.presented_to(&server)?,
        context.trust()?,
    )?;
    let health = match api.get_any("/health").await {
        Ok((_, health)) => api.decode::<Health>(health),
        Err(error) => Err(error),
    };
    match health {
        Ok(health) => {
            parts(&api, &health, findings);
            sign_in(context, &api, findings).await;
            Ok(Server::Up(api))
        }
        Err(ClientError::Unexpected { .. } | ClientError::Cut { .. }) => {
            findings.push(Finding::broken(
                "server",
                format!("something at {server} answers, but it is not Remuda"),
                "stop that program, or choose another address with --listen",
            ));
            Ok(Server::Down)
        }
        Err(ClientError::Certificate { server, reason }) => {
            findings.push(Finding::broken(
                "server",
                format!("{server} answers, but {reason}"),
                "name the authority of the certificate with --ca-file, and the server with --server as the certificate does",
            ));
            Ok(Server::Down)
        }
        Err(error) => {
            if certificate.is_some() && TcpListener::bind(config.server.listen).is_err() {
                findings.push(Finding::broken(
                    "server",
                    error.to_string(),
                    "name the authority of the certificate with --ca-file, and the server with --server as the certificate does",
                ));
                return Ok(Server::Down);
            }
            free_address(config, findings);
            Ok(Server::Down)
        }
    }
}

fn parts(api: &Api, health: &Health, findings: &mut Vec<Finding>) {
    let version = health.version.as_deref().unwrap_or("of unknown version");
    findings.push(Finding::good(
        "server",
        format!("Remuda {version} answers at {}", api.server()),
    ));
    if version != env!("CARGO_PKG_VERSION") {
        findings.push(Finding::warning(
            "server",
            format!("this program is version {}", env!("CARGO_PKG_VERSION")),
            "use the same version on both sides",
        ));
    }
    for (name, component) in &health.components {
        let message = format!("its {name} is {}: {}", component.status, component.detail);
        match component.status.as_str() {
            "ok" => {}
            "degraded" => findings.push(Finding::warning("server", message, remedy(name))),
            _ => findings.push(Finding::broken("server", message, remedy(name))),
        }
    }
}

fn free_address(config: &Config, findings: &mut Vec<Finding>) {
    let address = config.server.listen;
    findings.push(match TcpListener::bind(address) {
        Ok(_) => Finding::good(
            "address",
            format!("{address} is free (no server runs; `remuda up` starts one)"),
        ),
        Err(error) => Finding::broken(
            "address",
            format!("{address} cannot be listened on: {error}"),
            "stop the program that uses it, or choose another address with --listen",
        ),
    });
}

async fn sign_in(context: &Context, api: &Api, findings: &mut Vec<Finding>) {
    if let Some(store) = CredentialStore::of_user(&context.environment)
        && let Ok(metadata) = std::fs::metadata(store.path())
        && metadata.permissions().mode() & 0o077 != 0
    {
        findings.push(Finding::broken(
            "sign-in",
            format!("others can read {}", store.path().display()),
            format!("chmod 600 {}", store.path().display()),
        ));
    }
    findings.push(match api.get("/api/v1/me").await {
        Ok(me) if api.is_signed_in() => Finding::good(
            "sign-in",
            format!(
                "you are {} ({})",
                me.get("name").and_then(Value::as_str).unwrap_or("somebody"),
                me.get("role").and_then(Value::as_str).unwrap_or("user")
            ),
        ),
        Ok(_) => Finding::warning(
            "sign-in",
            "you are not signed in: models can be used, nothing can be managed",
            "`remuda login`",
        ),
        Err(error) if error.is_about_rights() => Finding::warning(
            "sign-in",
            "you are not signed in, or the session has ended",
            "`remuda login`",
        ),
        Err(error) => Finding::broken("sign-in", error.to_string(), "try again"),
    });
}
