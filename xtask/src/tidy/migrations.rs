//! Migrations come in pairs: one file per engine, with the same number and name.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::Findings;

/// Compares the two folders.
pub(super) fn check(root: &Path, findings: &mut Findings) -> anyhow::Result<()> {
    let folder = root.join("crates/store/migrations");
    let (sqlite, postgres) = (
        names(&folder.join("sqlite"))?,
        names(&folder.join("postgres"))?,
    );
    for name in sqlite.symmetric_difference(&postgres) {
        findings.fault(format!("migration {name} stands for one engine only"));
    }
    let mut numbers = BTreeSet::new();
    for name in &sqlite {
        let number = name.split('_').next().unwrap_or_default().to_owned();
        if number.len() != 4 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            findings.fault(format!("migration {name} does not begin with four digits"));
        }
        if !numbers.insert(number) {
            findings.fault(format!("migration {name} has the number of another"));
        }
    }
    Ok(())
}

fn names(folder: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        names.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}
