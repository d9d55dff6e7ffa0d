//! `remuda agent-release`: later versions of the agent, signed here and brought to the server.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use agent_proto::{MOST_RELEASE_BYTES, Manifest, SigningKey, Version, find_target, find_version};
use bytes::Bytes;
use clap::{Args, Subcommand};
use primitives::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::id_path::id_path;
use crate::output::{Columns, Tone, ago, remark};

const RELEASES: &str = "/api/v1/agent-releases";

/// Signs later versions of the agent, and brings them to the server, from where `remuda agent-rollout` gives them to agents.
///
/// The key that signs stays on the machine where you sign; agents are started with its public part (`remuda agent --update-key`). So
/// whoever has taken the server over still cannot run anything on the nodes.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda agent-release keygen agents.key          once: makes the key, prints what agents are started with
  remuda agent-release sign ./remuda --key agents.key
  remuda agent-release upload ./remuda            with ./remuda.sig beside it
  remuda agent-release list
  remuda agent-release remove 0.2.0-linux-x86_64")]
pub(super) struct AgentRelease {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key that signs releases, and print the public part for agents.
    Keygen {
        /// Where to write it; only you can read it. Nothing is overwritten.
        file: PathBuf,
    },
    /// Sign a program: writes what it is and who says so to FILE.sig.
    Sign {
        /// The program: `remuda` for the agents' machines.
        file: PathBuf,
        /// The file of the key.
        #[arg(long, value_name = "FILE", env = "REMUDA_AGENT_SIGNING_KEY")]
        key: PathBuf,
        /// Its version, where the file does not tell.
        #[arg(long, value_name = "VERSION")]
        as_version: Option<Version>,
        /// What it runs on, as linux-x86_64, where the file does not tell.
        #[arg(long)]
        target: Option<String>,
    },
    /// Bring a signed program to the server.
    Upload {
        /// The program, with FILE.sig beside it.
        file: PathBuf,
    },
    /// List the releases that the server keeps.
    #[command(visible_alias = "ls")]
    List,
    /// Remove a release from the server; agents that have it keep it.
    #[command(visible_alias = "rm")]
    Remove {
        /// Its id: version and target.
        id: String,
    },
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    size_bytes: u64,
    update_key: String,
    complete: bool,
    created_by: String,
    created_at: Timestamp,
}

impl AgentRelease {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::Keygen { file } => keygen(context, &file),
            Action::Sign {
                file,
                key,
                as_version,
                target,
            } => sign(context, &file, &key, as_version, target),
            Action::Upload { file } => upload(context, &file).await,
            Action::List => list(context).await,
            Action::Remove { id } => {
                let path = id_path(RELEASES, &id, "a release", "remuda agent-release list")?;
                let removed = context.api()?.delete(&path, None).await?;
                if context.out.is_json() {
                    return Ok(context.out.json(&removed)?);
                }
                Ok(context.out.line(format!("Removed {id}."))?)
            }
        }
    }
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::Refused(format!("{}: {error}", path.display()))
}

fn keygen(context: &Context, file: &Path) -> Result<(), Failure> {
    let refused = |error: agent_proto::ReleaseError| Failure::Refused(error.to_string());
    let key = SigningKey::generate().map_err(refused)?;
    let text = key.to_pem().map_err(refused)?;
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    written.map_err(|error| unusable(file, &error))?;
    let public = key.update_key().to_string();
    if context.out.is_json() {
        return Ok(context.out.json(&json!({"update_key": public}))?);
    }
    context.out.line(&public)?;
    remark(&format!(
        "start agents once with `remuda agent --update-key {public}`; keep {} away from the server, and a copy of it safe: without it no agent takes an update",
        file.display()
    ));
    Ok(())
}

fn sign(
    context: &Context,
    file: &Path,
    key: &Path,
    version: Option<Version>,
    target: Option<String>,
) -> Result<(), Failure> {
    let refused = |error: agent_proto::ReleaseError| Failure::Refused(error.to_string());
    let secret = fs::read(key).map_err(|error| unusable(key, &error))?;
    let key = SigningKey::from_pem(&secret).map_err(refused)?;
    let program = read_program(file)?;
    let version = version.or_else(|| find_version(&program)).ok_or_else(|| {
        Failure::Usage(format!(
            "{} does not tell its version: is it remuda? Say it with --as-version",
            file.display()
        ))
    })?;
    let target = target.or_else(|| find_target(&program)).ok_or_else(|| {
        Failure::Usage(format!(
            "{} does not tell what it runs on: say it with --target",
            file.display()
        ))
    })?;
    let manifest = key.sign(version, &target, &program).map_err(refused)?;
    let path = signature_path(file);
    fs::write(&path, manifest.to_string()).map_err(|error| unusable(&path, &error))?;
    if context.out.is_json() {
        return Ok(context.out.json(&json!({
            "version": version.to_string(), "target": target, "signature": path,
        }))?);
    }
    context.out.line(format!(
        "Signed {} as version {version} for {target}: {}",
        file.display(),
        path.display()
    ))?;
    Ok(())
}

/// Returns where the signature of a program is.
fn signature_path(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

fn read_program(file: &Path) -> Result<Vec<u8>, Failure> {
    let size = fs::metadata(file)
        .map_err(|error| unusable(file, &error))?
        .len();
    if size > MOST_RELEASE_BYTES {
        return Err(Failure::Refused(format!(
            "{} has {size} bytes, a release at most {MOST_RELEASE_BYTES}: strip the program",
            file.display()
        )));
    }
    fs::read(file).map_err(|error| unusable(file, &error))
}

async fn upload(context: &Context, file: &Path) -> Result<(), Failure> {
    let path = signature_path(file);
    let text = fs::read_to_string(&path).map_err(|error| {
        let path = path.display();
        Failure::Refused(format!(
            "{path}: {error}: sign the program first with `remuda agent-release sign`"
        ))
    })?;
    // What is wrong with it shows here already, before anything is sent.
    text.parse::<Manifest>()
        .map_err(|error| Failure::Refused(error.to_string()))?;
    let program = read_program(file)?;
    let api = context.api()?;
    let announced = api.post(RELEASES, &json!({"manifest": text})).await?;
    let row: Row = api.decode(announced.clone())?;
    let uploaded = if row.complete {
        announced
    } else {
        let path = format!("{RELEASES}/{}/content", row.id);
        api.put_bytes(&path, Bytes::from(program)).await?
    };
    if context.out.is_json() {
        return Ok(context.out.json(&uploaded)?);
    }
    context.out.line(format!("Uploaded {}.", row.id))?;
    let version = row.id.split('-').next().unwrap_or_default();
    remark(&format!(
        "give it to agents with `remuda agent-rollout start {version}`"
    ));
    Ok(())
}

async fn list(context: &Context) -> Result<(), Failure> {
    let api = context.api()?;
    let found = api.get(RELEASES).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&found)?);
    }
    let mut table = Columns::new(
        ["RELEASE", "SIZE", "KEY", "STATE", "BY", "ADDED"],
        "No releases yet: sign one with `remuda agent-release sign FILE --key KEYFILE`, and upload it.",
    )
    .dispensing_with(&["ADDED", "BY"]);
    for row in api.decode::<Page>(found)?.items {
        let (state, tone) = if row.complete {
            ("complete", Tone::Good)
        } else {
            ("waits for its program", Tone::Faint)
        };
        table.row_marked(
            3,
            tone,
            [
                row.id,
                format!("{:.1} MB", row.size_bytes as f64 / 1e6),
                row.update_key,
                state.to_owned(),
                row.created_by,
                ago(row.created_at, context.now()),
            ],
        );
    }
    Ok(table.print(context.out)?)
}
