//! `remuda backup`: the whole database as one encrypted file.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use primitives::Classify as _;
use serde_json::json;
use store::backup::{self, BackupError, Summary};

use super::context::Context;
use super::failure::Failure;
use super::start_args::{StartArgs, configured};
use crate::output::{bytes, minute, remark};
use crate::start::DataDir;
use crate::start::opened::Opened;

/// Makes, checks and restores backups of the database.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda backup create /backups/remuda-2026-01-31.backup
  remuda backup verify /backups/remuda-2026-01-31.backup
  remuda backup restore /backups/remuda-2026-01-31.backup --data /var/lib/remuda-new

A backup is made while the server runs, and shows one moment. It is sealed with the key that seals stored secrets (sealing.key
in the data directory, or [store] encryption_key): keep that key elsewhere, without it a backup is of no use. A backup
of SQLite can be restored into PostgreSQL, and the other way round.")]
pub(super) struct Backup {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write everything that is in the database to a new file.
    Create {
        /// The file to make.
        file: PathBuf,
        #[command(flatten)]
        start: StartArgs,
    },
    /// Read a backup and check that it is whole.
    Verify {
        /// The backup.
        file: PathBuf,
        #[command(flatten)]
        start: StartArgs,
    },
    /// Put a backup into an empty database, while no server runs on it.
    Restore {
        /// The backup.
        file: PathBuf,
        #[command(flatten)]
        start: StartArgs,
    },
}

impl Backup {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::Create { file, start } => Box::pin(create(context, &file, start)).await,
            Action::Verify { file, start } => verify(context, &file, start),
            Action::Restore { file, start } => restore(context, &file, start).await,
        }
    }
}

async fn create(context: &Context, path: &Path, start: StartArgs) -> Result<(), Failure> {
    let opened = Opened::existing(configured(context, start)?).await?;
    let sealer = opened.sealer()?;
    // A backup under its name is whole.
    let draft = path.with_added_extension("partial");
    if path.exists() {
        return Err(refused(
            path,
            "there is a file already: choose another name",
        ));
    }
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(|error| refused(&draft, &error.to_string()))?;
    let made = backup::create(&opened.db, &sealer, context.now(), BufWriter::new(file)).await;
    opened.db.close().await;
    let outcome = made.and_then(|(summary, file)| {
        let file = file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        Ok((summary, path.metadata()?.len()))
    });
    match outcome {
        Ok((summary, size)) => told(context, "Backed up", path, &summary, Some(size)),
        Err(error) => {
            drop(std::fs::remove_file(&draft));
            Err(failed(path, &error))
        }
    }
}

fn verify(context: &Context, path: &Path, start: StartArgs) -> Result<(), Failure> {
    let sealer = Opened::existing_sealer(&configured(context, start)?)?;
    let summary = backup::verify(&sealer, open(path)?).map_err(|error| failed(path, &error))?;
    told(context, "Whole:", path, &summary, None)
}

async fn restore(context: &Context, path: &Path, start: StartArgs) -> Result<(), Failure> {
    let file = open(path)?;
    let config = configured(context, start)?;
    let sealer = Opened::existing_sealer(&config)?;
    // Nobody may start on it meanwhile.
    let data_dir = DataDir::acquire(&Opened::data_dir(&config)?)?;
    let opened = Opened::open(config, data_dir.path()).await?;
    let restored = backup::restore(&opened.db, &sealer, file).await;
    opened.db.close().await;
    let summary = restored.map_err(|error| failed(path, &error))?;
    told(context, "Restored", path, &summary, None)?;
    remark(
        "Start the server with `remuda up`. Sessions and keys are as they were when the backup was made.",
    );
    Ok(())
}

fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    File::open(path)
        .map(BufReader::new)
        .map_err(|error| refused(path, &error.to_string()))
}

fn refused(path: &Path, reason: &str) -> Failure {
    Failure::Refused(format!("{}: {reason}", path.display()))
}

fn failed(path: &Path, error: &BackupError) -> Failure {
    refused(path, &error.public_message())
}

fn told(
    context: &Context,
    what: &str,
    path: &Path,
    summary: &Summary,
    size: Option<u64>,
) -> Result<(), Failure> {
    if context.out.is_json() {
        let tables: serde_json::Map<_, _> = summary
            .tables
            .iter()
            .map(|(table, rows)| (table.clone(), json!(rows)))
            .collect();
        let body = json!({"file": path, "manifest": summary.manifest, "tables": tables, "size_bytes": size});
        return Ok(context.out.json(&body)?);
    }
    let size = size.map_or(String::new(), |size| format!(", {}", bytes(size)));
    Ok(context.out.line(format!(
        "{what} {} ({} rows of {} tables{size}, from {} at {}, schema {}, key {})",
        path.display(),
        summary.rows(),
        summary.tables.len(),
        summary.manifest.engine,
        minute(summary.manifest.created_at),
        summary.manifest.schema,
        summary.manifest.key_id
    ))?)
}
