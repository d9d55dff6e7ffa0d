//! `cargo xtask tidy`: rules of the house that neither compiler nor lints know. One file per family of rules.

mod arrows;
mod files;
mod migrations;
mod schemas;

use std::process::ExitCode;

use crate::workspace;

/// What the rules found.
#[derive(Default)]
struct Findings {
    warnings: Vec<String>,
    faults: Vec<String>,
}

impl Findings {
    fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    fn fault(&mut self, text: String) {
        self.faults.push(text);
    }
}

/// Applies all rules; fails when one is broken.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let (root, metadata) = (workspace::root()?, workspace::metadata()?);
    let mut findings = Findings::default();
    arrows::check(&metadata, &mut findings);
    files::check(&root, &mut findings)?;
    migrations::check(&root, &mut findings)?;
    schemas::check(&root, &mut findings)?;
    for warning in &findings.warnings {
        eprintln!("tidy: warning: {warning}");
    }
    for fault in &findings.faults {
        eprintln!("tidy: {fault}");
    }
    if findings.faults.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}
