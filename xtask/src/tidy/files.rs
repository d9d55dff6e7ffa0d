//! Source files: a purpose in the first line, a bounded length, a name that says something, nothing left unfinished.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::Findings;

const WARN_LINES: usize = 500;
const MOST_LINES: usize = 800;

/// Words that say nothing about what is in a file.
const EMPTY_NAMES: [&str; 8] = [
    "util", "utils", "common", "helper", "helpers", "misc", "manager", "stuff",
];

/// Marks of unfinished work, written so that this file does not contain them.
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("XX", "X:"),
];

/// Where what a program wrote is kept. Its first line could not be `//!`: it is included into a module.
const GENERATED: &str = "generated";

/// Checks every Rust file of the workspace that a person wrote.
pub(super) fn check(root: &Path, findings: &mut Findings) -> anyhow::Result<()> {
    for folder in ["crates", "xtask"] {
        walk(&root.join(folder), &mut |path| {
            let written = !path.iter().any(|folder| folder == GENERATED);
            if written && path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(path)
                    .with_context(|| format!("reading {}", path.display()))?;
                let name = path.strip_prefix(root).unwrap_or(path);
                check_file(name, &text, findings);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Visits every file below a folder.
pub(super) fn walk(
    folder: &Path,
    visit: &mut dyn FnMut(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), visit)?;
        } else {
            visit(&entry.path())?;
        }
    }
    Ok(())
}

fn check_file(path: &Path, text: &str, findings: &mut Findings) {
    let name = path.display();
    if !text.starts_with("//!") {
        findings.fault(format!(
            "{name} does not begin with `//!` and what it is for"
        ));
    }
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let words = path
        .parent()
        .into_iter()
        .flat_map(Path::components)
        .filter_map(|part| part.as_os_str().to_str());
    let mut words = words.chain([stem]).flat_map(|part| part.split(['_', '-']));
    if let Some(word) = words.find(|word| EMPTY_NAMES.contains(word)) {
        findings.fault(format!(
            "{name}: `{word}` says nothing about what is in there"
        ));
    }
    for (at, line) in text.lines().enumerate() {
        if let Some(mark) = UNFINISHED.iter().find(|mark| line.contains(**mark)) {
            findings.fault(format!(
                "{name}:{}: {mark} stands in the way of a finished piece of work",
                at + 1
            ));
        }
    }
    let is_test = stem == "tests" || path.components().any(|part| part.as_os_str() == "tests");
    let lines = lines_before_tests(text);
    if !is_test && lines > MOST_LINES {
        findings.fault(format!(
            "{name} has {lines} lines without its tests, {MOST_LINES} at most"
        ));
    } else if !is_test && lines > WARN_LINES {
        findings.warn(format!(
            "{name} has {lines} lines without its tests: does it still hold one responsibility?"
        ));
    }
}

/// Counts the lines before the unit tests, which stand at the end.
fn lines_before_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests"));
    tests.unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> usize {
        let mut findings = Findings::default();
        check_file(Path::new(path), text, &mut findings);
        findings.faults.len()
    }

    #[test]
    fn good_file_passes_and_each_rule_bites() {
        assert_eq!(faults("crates/a/src/lib.rs", "//! What a is for.\n"), 0);
        assert_eq!(faults("crates/a/src/lib.rs", "fn main() {}\n"), 1);
        assert_eq!(faults("crates/a/src/string_utils.rs", "//! Strings.\n"), 1);
        assert_eq!(
            faults(
                "crates/a/src/x.rs",
                &format!("//! X.\n// {}\n", UNFINISHED[0])
            ),
            1
        );
        assert_eq!(
            faults(
                "crates/a/src/x.rs",
                &format!("//! X.\n{}", "fn f() {}\n".repeat(900))
            ),
            1
        );
        assert_eq!(
            faults(
                "crates/a/tests/it/x.rs",
                &format!("//! X.\n{}", "fn f() {}\n".repeat(900))
            ),
            0
        );
    }

    #[test]
    fn unit_tests_do_not_count_as_length() {
        let text = format!(
            "//! X.\n#[cfg(test)]\nmod tests {{\n{}}}\n",
            "fn f() {}\n".repeat(900)
        );
        assert_eq!(lines_before_tests(&text), 1);
    }
}
