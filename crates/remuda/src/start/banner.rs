//! What a person reads when Remuda has started: what was found, where it listens, what to type next.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

/// What was found at start.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Found {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The database, without credentials.
    pub database: String,
    /// The configuration file, if one was read.
    pub config_file: Option<PathBuf>,
    /// Models of the embedded engine.
    pub models: Vec<FoundModel>,
    /// Model files that are not served, with the reason.
    pub refused: Vec<RefusedModel>,
    /// Nodes other than the embedded engine.
    pub nodes: Vec<FoundNode>,
    /// Lines that a person should see although nothing is wrong enough to stop.
    pub warnings: Vec<String>,
}

/// A model of the embedded engine.
#[derive(Clone, Debug, Serialize)]
pub struct FoundModel {
    /// Its name.
    pub name: String,
    /// Whether it generates text, so that it can be tried with a question.
    pub can_chat: bool,
    /// Parameters and quantisation, for people.
    pub description: String,
}

/// A model file that is not served.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedModel {
    /// The file or name.
    pub name: String,
    /// Why not.
    pub reason: String,
}

/// A node of the fleet.
#[derive(Clone, Debug, Serialize)]
pub struct FoundNode {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// Who brought it in: `config`, `api` or `discovered`.
    pub source: String,
}

/// How to reach what has started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Invitation<'a> {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The base URL under which this machine reaches it.
    pub(crate) url: &'a str,
    /// Whether inference needs a key.
    pub(crate) auth_required: bool,
    /// The set-up token, at the first start.
    pub(crate) setup_token: Option<&'a str>,
    /// How to call this program from the shell.
    pub(crate) program: &'a str,
}

/// Returns the banner.
pub(crate) fn text(found: &Found, invitation: &Invitation<'_>) -> String {
    let mut banner = String::new();
    match write(&mut banner, found, invitation) {
        // Writing into a String cannot fail.
        Ok(()) | Err(std::fmt::Error) => banner,
    }
}

fn write(
    banner: &mut String,
    found: &Found,
    invitation: &Invitation<'_>,
) -> Result<(), std::fmt::Error> {
    let base = invitation.url;
    writeln!(
        banner,
        "Remuda {} listens on {}",
        env!("CARGO_PKG_VERSION"),
        if invitation.address.ip().is_unspecified() {
            format!("{} (all interfaces; here: {base})", invitation.address)
        } else {
            base.to_owned()
        }
    )?;
    writeln!(
        banner,
        "  keys      {}",
        match (
            invitation.auth_required,
            invitation.address.ip().is_loopback()
        ) {
            (false, _) => "not needed: only this machine can reach it",
            (true, true) => "needed for every call ([auth] required = true)",
            (true, false) => "needed for every call: other machines can reach it",
        }
    )?;
    let in_data_dir = format!("SQLite, {}/", found.data_dir.display());
    let database = if found.database.starts_with(&in_data_dir) {
        "SQLite"
    } else {
        &found.database
    };
    writeln!(
        banner,
        "  data      {} ({database})",
        found.data_dir.display()
    )?;
    if let Some(file) = &found.config_file {
        writeln!(banner, "  config    {}", file.display())?;
    }
    write_models(banner, found)?;
    write_nodes(banner, found)?;
    for warning in &found.warnings {
        writeln!(banner, "  warning   {warning}")?;
    }
    write_invitation(banner, found, invitation)
}

fn write_models(banner: &mut String, found: &Found) -> Result<(), std::fmt::Error> {
    let mut label = "models";
    for model in &found.models {
        writeln!(
            banner,
            "  {label:<9} {} ({}, embedded)",
            model.name, model.description
        )?;
        label = "";
    }
    for model in &found.refused {
        writeln!(
            banner,
            "  {label:<9} not served: {}: {}",
            model.name, model.reason
        )?;
        label = "";
    }
    if found.models.is_empty() && found.refused.is_empty() {
        writeln!(banner, "  models    none embedded (--model PATH adds one)")?;
    }
    Ok(())
}

fn write_nodes(banner: &mut String, found: &Found) -> Result<(), std::fmt::Error> {
    let mut label = "nodes";
    for node in &found.nodes {
        let from = match node.source.as_str() {
            "discovered" => "a local Ollama, adopted",
            "config" => "from the configuration",
            _ => "registered",
        };
        writeln!(
            banner,
            "  {label:<9} {} at {} ({from})",
            node.name, node.url
        )?;
        label = "";
    }
    if found.nodes.is_empty() {
        writeln!(
            banner,
            "  nodes     none yet (`remuda node add NAME URL` adds a server)"
        )?;
    }
    Ok(())
}

fn write_invitation(
    banner: &mut String,
    found: &Found,
    invitation: &Invitation<'_>,
) -> Result<(), std::fmt::Error> {
    let (program, base) = (invitation.program, invitation.url);
    let server = if base == format!("http://127.0.0.1:{}", crate::config::DEFAULT_PORT) {
        String::new()
    } else {
        format!(" --server {base}")
    };
    let key = if invitation.auth_required {
        " -H \"Authorization: Bearer $REMUDA_API_KEY\""
    } else {
        ""
    };
    writeln!(banner, "\nTry it:")?;
    match found.models.iter().find(|model| model.can_chat) {
        Some(model) => {
            writeln!(
                banner,
                "  curl {base}/v1/chat/completions{key} -H 'Content-Type: application/json' -d '{{\"model\":\"{name}\",\"temperature\":0,\"messages\":[{{\"role\":\"user\",\"content\":\"What is Remuda?\"}}]}}'",
                name = model.name
            )?;
            writeln!(banner, "  {program} chat{server}")?;
        }
        None => writeln!(banner, "  curl {base}/v1/models{key}")?,
    }
    writeln!(banner, "  {base}/ui/   the dashboard, in a browser")?;
    if let Some(token) = invitation.setup_token {
        writeln!(
            banner,
            "\nFirst start: make the administrator with this set-up token (it works once), here or in the dashboard:"
        )?;
        writeln!(banner, "  {program} login{server} --setup-token {token}")?;
    }
    if invitation.auth_required {
        writeln!(
            banner,
            "\nA key for your clients, once you are signed in:\n  export REMUDA_API_KEY=$({program} key create{server} my-key)"
        )?;
    }
    writeln!(banner, "\nCtrl-C stops.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        Found {
            data_dir: "/d".into(),
            database: "SQLite, /d/remuda.db".to_owned(),
            models: vec![FoundModel {
                name: "remuda-demo".to_owned(),
                can_chat: true,
                description: "4M, Q8_0".to_owned(),
            }],
            ..Found::default()
        }
    }

    #[test]
    fn the_first_start_says_what_to_type() {
        let banner = text(
            &found(),
            &Invitation {
                address: ([127, 0, 0, 1], 11440).into(),
                url: "http://127.0.0.1:11440",
                auth_required: false,
                setup_token: Some("rmt_x"),
                program: "remuda",
            },
        );
        assert!(
            banner.contains("curl http://127.0.0.1:11440/v1/chat/completions -H"),
            "{banner}"
        );
        assert!(banner.contains("\"model\":\"remuda-demo\""), "{banner}");
        assert!(banner.contains("http://127.0.0.1:11440/ui/"), "{banner}");
        assert!(
            banner.contains("remuda login --setup-token rmt_x"),
            "{banner}"
        );
    }

    #[test]
    fn beyond_loopback_the_key_is_shown_in_the_curl_line() {
        let banner = text(
            &found(),
            &Invitation {
                address: ([0, 0, 0, 0], 8080).into(),
                url: "http://127.0.0.1:8080",
                auth_required: true,
                setup_token: None,
                program: "target/release/remuda",
            },
        );
        assert!(
            banner.contains("all interfaces; here: http://127.0.0.1:8080"),
            "{banner}"
        );
        assert!(banner.contains("Bearer $REMUDA_API_KEY"), "{banner}");
        assert!(
            banner.contains("target/release/remuda chat --server http://127.0.0.1:8080"),
            "{banner}"
        );
        assert!(!banner.contains("set-up token"), "{banner}");
    }
}
