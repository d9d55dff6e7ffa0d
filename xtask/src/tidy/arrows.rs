//! Which crate may use which, as ARCHITECTURE.md draws it, and where drivers may stand.

use super::Findings;
use crate::workspace::Metadata;

/// Each crate of ours and those of ours that it may use. A crate that is not named here may not exist.
const ARROWS: [(&str, &[&str]); 23] = [
    ("primitives", &[]),
    ("dialects", &["primitives"]),
    ("scheduling", &["primitives"]),
    ("engine", &["primitives"]),
    ("store", &["primitives"]),
    ("web", &["primitives"]),
    ("bus", &["primitives"]),
    ("telemetry", &[]),
    ("agent-proto", &[]),
    (
        "agent",
        &["primitives", "agent-proto", "engine", "dialects"],
    ),
    ("identity", &["primitives", "bus", "store", "web"]),
    (
        "cluster",
        &[
            "primitives",
            "agent-proto",
            "scheduling",
            "store",
            "web",
            "identity",
        ],
    ),
    (
        "system",
        &["primitives", "store", "web", "identity", "cluster"],
    ),
    (
        "fleet",
        &["primitives", "store", "web", "identity", "cluster"],
    ),
    ("jobs", &["primitives", "store", "web", "identity"]),
    ("inventory", &["primitives", "store", "web", "identity"]),
    (
        "realtime",
        &[
            "primitives",
            "scheduling",
            // For tests: the hub itself never touches the database.
            "store",
            "web",
            "identity",
            "cluster",
        ],
    ),
    (
        "gateway",
        &[
            "primitives",
            "dialects",
            "scheduling",
            "store",
            "web",
            "identity",
            "cluster",
            "engine",
        ],
    ),
    (
        "graphql",
        &[
            "primitives",
            "store",
            "web",
            "identity",
            "cluster",
            "system",
            "jobs",
            "gateway",
        ],
    ),
    (
        "remuda",
        &[
            "primitives",
            "agent",
            "agent-proto",
            "bus",
            "graphql",
            "dialects",
            "scheduling",
            "store",
            "web",
            "identity",
            "cluster",
            "system",
            "fleet",
            "realtime",
            "jobs",
            "inventory",
            "gateway",
            "engine",
            "telemetry",
        ],
    ),
    ("testbed", &["primitives", "agent", "agent-proto", "remuda"]),
    ("xtask", &[]),
    ("ui", &["primitives", "web"]),
];

/// Drivers, and the only crates that may depend on them.
const DRIVERS: [(&str, &[&str]); 3] = [
    ("sqlx", &["store"]),
    ("redis", &["bus"]),
    // The test bed speaks it where it stands for agents.
    ("tonic", &["agent", "agent-proto", "cluster", "testbed"]),
];

/// Checks every dependency line of the workspace.
pub(super) fn check(metadata: &Metadata, findings: &mut Findings) {
    let ours = |name: &str| metadata.packages.iter().any(|package| package.name == name);
    for package in &metadata.packages {
        let from = short(&package.name);
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == from) else {
            findings.fault(format!(
                "crate {from} has no place among the arrows of xtask/src/tidy/arrows.rs"
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let to = short(&dependency.name);
            let for_tests = dependency.kind.as_deref() == Some("dev");
            // A crate names itself among its test dependencies to switch its own features on.
            let fits = allowed.contains(&to) || (for_tests && (to == "testbed" || to == from));
            if ours(&dependency.name) && !fits {
                findings.fault(format!(
                    "{from} must not use {to} ({})",
                    package.manifest_path.display()
                ));
            }
            let driver = DRIVERS
                .iter()
                .find(|(driver, _)| dependency.name.starts_with(driver));
            if let Some((driver, users)) = driver
                && !users.contains(&from)
            {
                findings.fault(format!(
                    "{from} must not use {driver}, which belongs to {}",
                    users.join(", ")
                ));
            }
        }
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix("remuda-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{Dependency, Package};

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| Dependency {
                name: (*name).to_owned(),
                kind: kind.map(str::to_owned),
            })
            .collect();
        Package {
            name: name.to_owned(),
            manifest_path: "Cargo.toml".into(),
            dependencies,
        }
    }

    fn faults(packages: Vec<Package>) -> Vec<String> {
        let mut findings = Findings::default();
        check(
            &Metadata {
                packages,
                target_directory: "target".into(),
            },
            &mut findings,
        );
        findings.faults
    }

    #[test]
    fn forbidden_arrow_is_named() {
        let packages = vec![
            package("remuda-dialects", &[("remuda-store", None)]),
            package("remuda-store", &[]),
        ];
        assert_eq!(
            faults(packages),
            ["dialects must not use store (Cargo.toml)"]
        );
    }

    #[test]
    fn driver_outside_its_crate_is_named_and_tests_may_use_the_testbed() {
        let packages = vec![
            package(
                "remuda-web",
                &[("sqlx", None), ("remuda-testbed", Some("dev"))],
            ),
            package("remuda-testbed", &[]),
        ];
        assert_eq!(
            faults(packages),
            ["web must not use sqlx, which belongs to store"]
        );
    }

    #[test]
    fn arrows_have_no_cycle() {
        let mut done: Vec<&str> = Vec::new();
        while done.len() < ARROWS.len() {
            let ready = |(name, uses): &&(&'static str, &'static [&'static str])| {
                !done.contains(name) && uses.iter().all(|used| done.contains(used))
            };
            let (next, _) = ARROWS.iter().find(ready).expect("a cycle among the arrows");
            done.push(next);
        }
    }
}
