//! Names of types in the OpenAPI document: two types of one name would silently become one schema when the crates' documents are put
//! together.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Findings;
use super::files::walk;

/// Lines between a derive and the name of its type, at most: attributes and comments.
const FAR: usize = 12;

/// Checks that every type with a schema has a name of its own.
pub(super) fn check(root: &Path, findings: &mut Findings) -> anyhow::Result<()> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    walk(&root.join("crates"), &mut |path| {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            let file = path.strip_prefix(root).unwrap_or(path);
            for name in names(&text) {
                found.entry(name).or_default().push(file.to_owned());
            }
        }
        Ok(())
    })?;
    for (name, files) in found {
        if let [first, second, ..] = files.as_slice() {
            findings.fault(format!(
                "{} and {}: both have a schema named {name}: give one another name",
                first.display(),
                second.display()
            ));
        }
    }
    Ok(())
}

/// Returns the names of types that derive a schema.
fn names(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let derives = |line: &str| line.starts_with("#[derive(") && line.contains("ToSchema");
    let name = |line: &str| -> Option<String> {
        let rest = line.strip_prefix("pub ").unwrap_or(line);
        let rest = match rest.strip_prefix("pub(") {
            Some(rest) => rest.split_once(") ")?.1,
            None => rest,
        };
        let rest = rest
            .strip_prefix("struct ")
            .or(rest.strip_prefix("enum "))?;
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        Some(rest.get(..end.unwrap_or(rest.len()))?.to_owned())
    };
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if derives(line) {
            found.extend(
                lines
                    .iter()
                    .skip(at + 1)
                    .take(FAR)
                    .find_map(|line| name(line)),
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_with_schemas_are_found_whatever_stands_between() {
        let text = "#[derive(Debug, Serialize, ToSchema)]\n/// A list.\n#[serde(default)]\npub(super) struct ListBody<T> {\n}\n#[derive(ToSchema)]\nenum Kind {\n}\n#[derive(Debug)]\npub struct Other;\n#[derive(ToSchema)]\npub struct Third(u8);";
        assert_eq!(names(text), ["ListBody", "Kind", "Third"]);
    }
}
