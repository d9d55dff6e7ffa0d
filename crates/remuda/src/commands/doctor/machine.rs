//! This machine: open files, data directory, database, model files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use engine::{Engine, LoadOutcome};
use store::Db;

use super::Finding;
use super::server::Server;
use crate::config::Config;
use crate::start::{DataDir, Holder, database, engine_config, open_files};

/// Fewer open files than this are too few for a gateway.
const FEW_FILES: u64 = 4096;

/// Looks at the machine.
pub(super) async fn check(config: &Config, server: &Server, findings: &mut Vec<Finding>) {
    open_files(findings);
    let Some(data_dir) = config.server.data_dir.as_deref() else {
        return;
    };
    directory(data_dir, server, findings);
    check_database(config, data_dir, server, findings).await;
    models(config, data_dir, findings);
}

fn open_files(findings: &mut Vec<Finding>) {
    findings.push(match open_files::most() {
        Some(limit) if limit < FEW_FILES => Finding::warning(
            "open files",
            format!("{limit} are allowed; each client and each stream takes one or two"),
            "raise the hard limit: `ulimit -Hn 65536` as root, or LimitNOFILE= in the service file",
        ),
        Some(limit) => Finding::good("open files", format!("{limit} are allowed")),
        None => Finding::good("open files", "as many as wanted"),
    });
}

fn directory(path: &Path, server: &Server, findings: &mut Vec<Finding>) {
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.push(Finding::good(
                "data directory",
                match server {
                    Server::Up(_) => format!(
                        "{shown} does not exist: the running server uses another one (give its --config or --data to look at that)"
                    ),
                    Server::Down => format!("{shown} does not exist yet: the first start makes it"),
                },
            ));
            return;
        }
        Err(error) => {
            findings.push(Finding::broken(
                "data directory",
                format!("{shown} cannot be looked at: {error}"),
                "correct its rights, or choose another with --data",
            ));
            return;
        }
    };
    if !metadata.is_dir() {
        findings.push(Finding::broken(
            "data directory",
            format!("{shown} is not a directory"),
            "move it away, or choose another with --data",
        ));
        return;
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        findings.push(Finding::warning(
            "data directory",
            format!("others can look into {shown}"),
            format!("chmod 700 {shown}"),
        ));
    }
    if metadata.permissions().readonly() {
        findings.push(Finding::broken(
            "data directory",
            format!("{shown} cannot be written"),
            "correct its rights, or choose another with --data",
        ));
    }
    let process = |pid: Option<u32>| pid.map_or(String::new(), |pid| format!(" (process {pid})"));
    findings.push(match (DataDir::holder(path), server) {
        (Holder::Process(pid), Server::Up(_)) => Finding::good(
            "data directory",
            format!("{shown} is held by the running server{}", process(pid)),
        ),
        (Holder::Process(pid), Server::Down) => Finding::warning(
            "data directory",
            format!(
                "{shown} is held by another process{}, which does not answer at the configured address",
                process(pid)
            ),
            "stop that process, or look where it listens",
        ),
        (Holder::Nobody, _) => Finding::good("data directory", format!("{shown} is there and free")),
    });
}

async fn check_database(
    config: &Config,
    data_dir: &Path,
    server: &Server,
    findings: &mut Vec<Finding>,
) {
    let described = database::describe(&config.store, data_dir);
    let store_config = database::store_config(&config.store, data_dir);
    // Opening makes an absent SQLite file; a doctor makes nothing.
    let file = store_config.url.expose().strip_prefix("sqlite:");
    if let Some(file) = file
        && !Path::new(file.strip_prefix("//").unwrap_or(file)).exists()
    {
        // A running server has told of its own.
        if matches!(server, Server::Down) {
            findings.push(Finding::good(
                "database",
                format!("{described} does not exist yet: the first start makes it"),
            ));
        }
        return;
    }
    findings.push(match Db::open(&store_config).await {
        Ok(db) => {
            db.close().await;
            Finding::good("database", format!("{described} answers"))
        }
        Err(error) => Finding::broken(
            "database",
            database::refused(&described, &error).to_string(),
            "without it nothing new can be stored; a running gateway goes on serving from memory",
        ),
    });
}

fn models(config: &Config, data_dir: &Path, findings: &mut Vec<Finding>) {
    let (_engine, reports) = Engine::start(&engine_config(config, data_dir));
    for report in reports {
        findings.push(match report.outcome {
            LoadOutcome::Loaded => Finding::good("model", format!("{} can be served", report.name)),
            LoadOutcome::Refused(reason) => Finding::broken(
                "model",
                format!("{} is not served: {reason}", report.name),
                "fetch the file again, or take it out of the configuration",
            ),
        });
    }
}
